"""Why a task waits, with workers that are killed, that take more than they run, or are busy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import wait_for

from .conftest import Worker

SHOP = """
import json
import time
from pathlib import Path
from flask import Flask
from flask_celeriac import Celeriac, operations
from flask_celeriac.errors import TaskStateError
from flask_celeriac.records.task_record import Filter

app = Flask("shop")
app.config["CELERY"] = {"worker_prefetch_multiplier": MULTIPLIER, "worker_soft_shutdown_timeout": 0}
celeriac = Celeriac(app)
celery = app.extensions["celery"]
here = Path(__file__).parent


@celeriac.task
def endless(name):
    (here / name).touch()
    while not (here / "over").exists():
        time.sleep(0.05)
    return name
"""

SEND = """
from shop import *
with app.app_context():
    for name in {names!r}:
        endless.apply_async((name,), task_id=name)
"""
WHY = """
from shop import *
with app.app_context():
    said = {{name: operations.why(celery, name) for name in {names!r}}}
print(json.dumps({{name: [[r.code, r.text] for r in reasons] for name, reasons in said.items()}}))
"""
STATES = """
from shop import *
with app.app_context():
    print(json.dumps({{name: operations.show(celery, name).state for name in {names!r}}}))
"""
REVOKE = """
from shop import *
said = {{}}
with app.app_context():
    for name in {names!r}:
        try:
            said[name] = operations.revoke(celery, name)
        except TaskStateError as error:
            said[name] = str(error)
print(json.dumps(said))
"""

Start = Callable[..., Worker]
Run = Callable[..., str]


def shop(multiplier: int = 1) -> str:
    return SHOP.replace("MULTIPLIER", str(multiplier))


def ask(run: Run, script: str, *names: str) -> Any:
    return json.loads(run(script.format(names=names)))


def test_a_worker_that_was_killed(start: Start, run: Run, tmp_path: Path) -> None:
    """Nobody looks after its tasks as long as no other worker is there."""
    worker = start(shop(), "-P", "solo", "-n", "w1@walk")
    run(SEND.format(names=["one"]))
    wait_for((tmp_path / "one").exists, "the task to begin")
    assert ask(run, WHY, "one") == {"one": [["running", "It does not wait: w1@walk runs it."]]}
    worker.kill()
    ((code, text),) = ask(run, WHY, "one")["one"]
    assert (code, text.partition(":")[0]) == ("no_worker", "No worker is running")
    assert ask(run, STATES, "one") == {"one": "queued"}


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_takes_more_than_it_runs(
    pool: str, start: Start, run: Run, tmp_path: Path
) -> None:
    names = [f"task{number}" for number in range(3)]
    start(shop(4), "-P", pool, "--concurrency", "1", "-n", "w1@walk")
    run(SEND.format(names=names))

    def begun() -> set[str]:
        return {name for name in names if (tmp_path / name).exists()}

    wait_for(lambda: len(begun()) == 1, "one to begin")
    wait_for(lambda: set(ask(run, STATES, *names).values()) == {"running"}, "all to be taken")
    running = begun()
    for name, reasons in ask(run, WHY, *names).items():
        ((code, text),) = reasons
        assert code == ("running" if name in running else "prefetched")
        assert "w1@walk" in text
        assert ("has not begun it" in text) == (name not in running)

    refused = ask(run, REVOKE, *names)
    waiting = set(names) - running
    assert {name for name, said in refused.items() if said is None} == waiting
    assert all("is running" in refused[name] for name in running)
    (tmp_path / "over").touch()
    expected = {name: "succeeded" if name in running else "revoked" for name in names}
    wait_for(lambda: ask(run, STATES, *names) == expected, "all to end as they should")
    assert begun() == running


def test_a_worker_that_is_too_busy_to_answer(start: Start, run: Run, tmp_path: Path) -> None:
    start(shop(), "-P", "solo", "-n", "w1@walk")
    run(SEND.format(names=["one"]))
    wait_for((tmp_path / "one").exists, "the first to begin")
    run(SEND.format(names=["two"]))
    ((code, text),) = ask(run, WHY, "two")["two"]
    assert code == "busy"
    assert text.startswith("A worker consumes the queue 'celery'")
    assert "does not answer" in text
