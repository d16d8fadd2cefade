"""What is revoked does not run once more when the worker that had it is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import wait_for

from .conftest import Worker
from .systems import environ_of

SHOP = """
import time
from pathlib import Path
from flask import Flask
from flask_celeriac import Celeriac

app = Flask("shop")
celeriac = Celeriac(app)
celery = app.extensions["celery"]
here = Path(__file__).parent


@celeriac.task
def endless(name):
    with (here / name).open("a") as file:
        file.write("begun ")
    while not (here / "over").exists():
        time.sleep(0.05)


@celeriac.task(ignore_result=True)
def quiet(name):
    endless.run(name)
"""

SEND = """
from shop import *
with app.app_context():
    for name in ("before", "after"):
        (here / name).touch()
        endless.apply_async((name,), task_id=name)
"""
REVOKE = """
from shop import *
with app.app_context():
    result = endless.AsyncResult({name!r})
    result.revoke()
    print(result.state)
"""
LOOK = """
from shop import *
with app.app_context():
    results = [endless.AsyncResult(name) for name in ("before", "after")]
    for result in results:
        result.get(timeout=60, propagate=False)
    print([result.state for result in results])
"""


def test_killed(start: Callable[..., Worker], run: Callable[..., str], tmp_path: Path) -> None:
    """One is revoked while it runs, which it goes on with; one when nobody runs it any more."""
    worker = start(SHOP, "--concurrency", "2")
    run(SEND)
    noted = [tmp_path / name for name in ("before", "after")]
    wait_for(lambda: all(path.read_text() for path in noted), "both to begin")
    assert run(REVOKE.format(name="before")) == "PENDING\n"
    worker.kill()
    # Nobody has looked since, so that it seems to run.
    assert run(REVOKE.format(name="after")) == "REVOKED\n"
    (tmp_path / "over").touch()
    start(SHOP, "--concurrency", "2")
    assert run(LOOK) == "['REVOKED', 'REVOKED']\n"
    assert [path.read_text() for path in noted] == ["begun ", "begun "]


TERMINATE = """
from shop import *
from flask_celeriac import operations
with app.app_context():
    sent = [endless.delay("first"), quiet.delay("second")]
    sent.append(endless.apply_async(("third",), retries=1))
    while not all((here / name).exists() for name in ("first", "second", "third")):
        time.sleep(0.05)
    for each in sent:
        operations.revoke(celery, each.id, terminate=True)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        tasks = [operations.show(celery, each.id) for each in sent]
        if all(task.worker and task.run is not None for task in tasks):
            break
    print([(task.state, task.attempts, task.worker, task.run is not None) for task in tasks])
"""


@pytest.mark.parametrize("name", ["embedded", "redis+postgresql"])
def test_what_a_run_was_that_is_ended(
    name: str, start: Callable[..., Worker], run: Callable[..., str]
) -> None:
    with environ_of(name) as environ:
        worker = start(SHOP, "--concurrency", "3", "-n", "ending@here", **environ)
        said = run(TERMINATE, **environ)
        worker.kill()
    ended = [("revoked", number, "ending@here", True) for number in (1, 1, 2)]
    assert said.strip() == str(ended)
