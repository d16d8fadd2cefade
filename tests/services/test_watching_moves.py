"""Who follows a task hears of a run that goes on elsewhere, as its worker was killed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from flask_celeriac import Celeriac, database, sqlite
from flask_celeriac.operations.watching import Watch, watcher_of
from flask_celeriac.records.task_record import TaskRecord

from .conftest import MakeApp, Worker

SHOP = """
import time
from pathlib import Path
from flask import Flask
from flask_celeriac import Celeriac

app = Flask("shop")
celeriac = Celeriac(app)
celery = app.extensions["celery"]
over = Path(__file__).parent / "over"


@celeriac.task(name="shop.endless")
def endless():
    while not over.exists():
        time.sleep(0.05)
"""


def told_of(watch: Watch, worker: str) -> TaskRecord:
    """What is told when a worker is said to run the task."""
    while True:
        change = watch.change(60)
        assert change is not None, f"nothing was told of {worker}"
        if change.task is not None and change.task.worker == worker:
            return change.task


def test_a_run_that_moves_to_another_worker(
    start: Callable[..., Worker], make_app: MakeApp, tmp_path: Path
) -> None:
    first = start(SHOP, "-P", "solo", "-n", "first@here")
    app = make_app("instance")  # in the folder of that application's file
    Celeriac(app)
    celery = app.extensions["celery"]
    sent = celery.send_task("shop.endless")
    with closing(watcher_of(celery).watch(sent.id)) as watch:
        before = told_of(watch, "first@here")
        first.kill()
        start(SHOP, "-P", "solo", "-n", "second@here")
        after = told_of(watch, "second@here")
        (tmp_path / "over").touch()
        assert (before.state, after.state) == ("running", "running")
        assert before.started is not None
        assert after.started is not None
        assert before.started < after.started
        while True:
            change = watch.change(60)
            assert change is not None
            if change.task is not None and change.task.ended:
                break
    path = str(tmp_path / "instance" / "celeriac" / "celeriac.db")
    database.engine_for(sqlite.url_of(path)).dispose()
    sqlite.file_at(path).close()
