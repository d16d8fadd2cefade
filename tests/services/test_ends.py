"""How a task ended is recorded, wherever its result goes; and by whoever is at it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from celery import chord, states
from flask import Flask

from flask_celeriac import Celeriac, operations
from tests.support.processes import wait_for

from .conftest import working
from .systems import RECORDED, inject, system

celeriac = Celeriac()


@celeriac.task(name="ends.well")
def well(number: int = 1) -> int:
    return number


@celeriac.task(name="ends.badly", bind=True, max_retries=1)
def badly(self: Any, error: str) -> None:
    try:
        raise ValueError(error)
    except ValueError as found:
        raise self.retry(countdown=0, exc=found) from None


@pytest.mark.parametrize("name", ["redis+postgresql", "embedded"])
def test_where_results_go_elsewhere(name: str, tmp_path: Path) -> None:
    with system(name, tmp_path, celeriac, result_backend="cache+memory://") as app:
        celery = app.extensions["celery"]
        past = datetime.now(timezone.utc) - timedelta(days=1)
        with working(app):
            sent = [well.delay(), badly.delay("no"), well.apply_async(expires=past)]
            for each in sent:
                each.get(timeout=60, propagate=False)
        wait_for(lambda: all(operations.show(celery, each.id).ended for each in sent), "no end")
        good, bad, late = (operations.show(celery, each.id) for each in sent)
        assert [good.state, bad.state, late.state] == ["succeeded", "failed", "expired"]
        assert (bad.error_type, bad.error_message, bad.attempts) == ("ValueError", "no", 2)
        assert [each.error_message for each in operations.attempts(celery, bad.id)] == ["no"]


@pytest.fixture(scope="module", params=RECORDED)
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flask]:
    with system(request.param, tmp_path_factory.mktemp("ends"), celeriac) as app:
        yield app


def test_expired_while_no_worker_was_there(app: Flask) -> None:
    celery = app.extensions["celery"]
    soon = datetime.now(timezone.utc) + timedelta(milliseconds=50)
    late = well.apply_async(expires=soon)
    wait_for(lambda: datetime.now(timezone.utc) > soon, "time stands still")
    with working(app):
        assert well.delay(2).get(timeout=60) == 2
        late.get(timeout=60, propagate=False)
    expired = operations.show(celery, late.id)
    assert (expired.state, expired.attempts, expired.started) == ("expired", 0, None)


ran: list[str] = []


@celeriac.task(name="ends.mark", bind=True)
def mark(self: Any, name: str, fail: bool = False) -> str:
    ran.append(name)
    if fail:
        raise ValueError(name)
    return name


@celeriac.task(name="ends.mourn")
def mourn(task_id: str) -> None:
    ran.append(f"{task_id} is mourned")


@celeriac.task(name="ends.overtaken", bind=True)
def overtaken(self: Any) -> str:
    """Another worker has begun the same task meanwhile."""
    request = self.request
    mine = request.__dict__.get("celeriac_run")
    if mine is not None:  # the queue tells the runs apart elsewhere
        again = type(request)({**request.__dict__})
        self.app.recorder.began(again, again=True, limit=0)
        assert again.__dict__["celeriac_run"] != mine
    return "mine"


@celeriac.task(name="ends.join")
def join(names: list[str]) -> str:
    return " ".join(names)


def send_again(app: Flask, sent: Any, args: list[Any], **embedded: Any) -> None:
    """Put a second message of a task into the queue, as a broker does that has not heard of it."""
    headers = {"lang": "py", "task": "ends.mark", "id": sent.id, "celeriac_again": 1}
    headers |= {"root_id": sent.id, "retries": 0}
    inject(app, json.dumps([args, {}, embedded]), headers=headers)


@pytest.mark.parametrize("fails", [False, True])
def test_what_has_ended_is_not_run_again(app: Flask, fails: bool) -> None:
    ran.clear()
    with working(app):
        sent = mark.delay("once", fails)
        sent.get(timeout=60, propagate=False)
        send_again(app, sent, ["once", fails], errbacks=[mourn.s()])
        assert well.delay(2).get(timeout=60) == 2
        if fails:  # its worker may have died before it could call them
            wait_for(lambda: f"{sent.id} is mourned" in ran, "the errback was not called")
    assert ran.count("once") == 1
    assert sent.state == (states.FAILURE if fails else states.SUCCESS)


@pytest.mark.parametrize("app", RECORDED[1:], indirect=True)
def test_a_run_that_was_overtaken_ends_nothing(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with working(app):
        body = chord([overtaken.s().set(task_id="overtaken"), well.s(1)])(join.s())
        wait_for(lambda: "has begun once more elsewhere" in caplog.text, "it was not noticed")
        assert well.delay(2).get(timeout=60) == 2
    celery = app.extensions["celery"]
    task = operations.show(celery, "overtaken")
    assert (task.state, task.result) == ("running", None)
    assert not body.ready()
