"""How a task was sent is known after its end, also where the queue's file has no records."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_celeriac import Celeriac, operations
from flask_celeriac.operations.listing import Filter

from .conftest import working
from .systems import system

celeriac = Celeriac()


@celeriac.task(name="origin.speaks")
def speaks(fails: bool) -> str:
    celeriac.progress(1, 2, "half")
    if fails:
        raise ValueError("No")
    return "done"


@celeriac.task(name="origin.again", bind=True, max_retries=1)
def again(self: Any) -> None:
    raise self.retry(countdown=0)


@pytest.fixture(params=["embedded", "embedded+postgresql", "embedded+mariadb", "redis+postgresql"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    with system(request.param, tmp_path, celeriac) as app:
        yield app


@pytest.mark.parametrize("results", [True, False], ids=["results", "none"])
def test_when_and_where_a_task_was_sent(app: Flask, results: bool) -> None:
    celery = app.extensions["celery"]
    options: dict[str, Any] = {"queue": "special", "priority": 7, "ignore_result": not results}
    began = time.time()
    sent = [
        speaks.apply_async((False,), **options),
        speaks.apply_async((True,), **options),
        again.apply_async(**options),
        speaks.apply_async((False,), expires=0.01, **options),
    ]
    ended, retried = time.time(), sent[2].id
    with working(app, queues=["special"]):
        wait = time.monotonic() + 30
        states: list[str] = []
        while states != ["succeeded", "failed", "failed", "expired"] and time.monotonic() < wait:
            time.sleep(0.05)
            states = [operations.show(celery, each.id).state for each in sent]
    assert states == ["succeeded", "failed", "failed", "expired"]
    for task in operations.list_tasks(celery, Filter(queue="special")).tasks:
        assert (task.queue, task.priority) == ("special", 7)
        assert began <= task.created <= ended
        sent = [each for each in sent if each.id != task.id]
    assert sent == []
    (first,) = operations.attempts(celery, retried)
    assert (first.number, first.state) == (1, "retrying")


def test_what_is_retried_goes_where_it_went(app: Flask) -> None:
    celery = app.extensions["celery"]
    failed = speaks.apply_async((True,), queue="special", priority=7)
    with working(app, queues=["special"]):
        failed.get(timeout=30, propagate=False)
    anew = operations.show(celery, operations.retry(celery, failed.id))
    assert (anew.queue, anew.priority) == ("special", 7)
