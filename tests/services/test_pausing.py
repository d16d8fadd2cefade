"""When a pause has returned, it is in force, unless a worker is too busy to hear of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from flask import Flask

from flask_celeriac import Celeriac, database, operations, sqlite
from flask_celeriac.broker import membership
from flask_celeriac.operations import queues
from flask_celeriac.operations.sources import embedded_store
from tests.support.processes import wait_for

from .conftest import MakeApp, Worker
from .gate import Gate
from .systems import system

SHOP = """
import time
from pathlib import Path
from flask import Flask
from flask_celeriac import Celeriac

app = Flask("shop")
app.config["CELERY"] = {"worker_soft_shutdown_timeout": 0}
celeriac = Celeriac(app)
celery = app.extensions["celery"]
here = Path(__file__).parent


@celeriac.task(name="shop.touch")
def touch(name):
    (here / name).touch()


@celeriac.task(name="shop.endless")
def endless():
    (here / "begun").touch()
    while not (here / "over").exists():
        time.sleep(0.05)
"""
#: Pauses, each of which the worker has to hear of before a task is sent.
ROUNDS = 10


@pytest.fixture
def app(make_app: MakeApp, tmp_path: Path) -> Iterator[Flask]:
    app = make_app("instance")  # in the folder of that application's file
    Celeriac(app)
    yield app
    path = str(tmp_path / "instance" / "celeriac" / "celeriac.db")
    database.engine_for(sqlite.url_of(path)).dispose()
    sqlite.file_at(path).close()


def test_nothing_is_begun_after_a_pause(
    app: Flask, start: Callable[..., Worker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow this machine is just now.
    monkeypatch.setattr(queues, "IN_FORCE", 60.0)
    celery = app.extensions["celery"]
    start(SHOP, "-P", "prefork", "-c", "2")
    store = embedded_store(celery.conf)
    assert store is not None
    for number in range(ROUNDS):
        wait_for(lambda: membership.consumed(store, "celery"), "the worker to go on")
        assert operations.pause(celery, "celery")
        assert not membership.consumed(store, "celery")
        sent = celery.send_task("shop.touch", [str(number)])
        assert celery.control.ping(timeout=60, limit=1)  # it had the time to take it
        assert not (tmp_path / str(number)).exists()
        assert operations.show(celery, sent.id).state == "queued"
        assert operations.resume(celery, "celery")
        wait_for((tmp_path / str(number)).exists, "the task to be begun")


def test_a_busy_worker_is_not_waited_for(
    app: Flask, start: Callable[..., Worker], tmp_path: Path
) -> None:
    celery = app.extensions["celery"]
    start(SHOP, "-P", "solo")
    celery.send_task("shop.endless")
    wait_for((tmp_path / "begun").exists, "the task to begin")
    assert operations.pause(celery, "celery")
    store = embedded_store(celery.conf)
    assert store is not None
    assert membership.consumed(store, "celery")
    sent = celery.send_task("shop.touch", ["late"])
    (tmp_path / "over").touch()
    wait_for(lambda: not membership.consumed(store, "celery"), "the worker to hear of it")
    assert operations.show(celery, sent.id).state in ("queued", "succeeded")


def test_a_pause_is_noted_while_the_broker_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:

        def shut(url: str) -> str:
            is_broker = url.startswith("redis")
            return stack.enter_context(Gate(url)).url if is_broker else url

        app = stack.enter_context(system("redis+postgresql", tmp_path, Celeriac(), url_of=shut))
        celery = app.extensions["celery"]
        assert operations.pause(celery, "celery")
        assert "Workers are not told of the pauses" in caplog.text
        paused = [each.name for each in operations.list_queues(celery) if each.paused_since]
        assert paused == ["celery"]
        assert operations.resume(celery, "celery")
