"""What is revoked does not run, also when no worker hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import chord
from celery.exceptions import TaskRevokedError
from celery.worker import state
from flask import Flask

from flask_celeriac import Celeriac, operations
from flask_celeriac.records.task_record import Filter

from .conftest import working
from .systems import RECORDED, system

celeriac = Celeriac()
ran: list[str] = []


@celeriac.task(name="revoked.note")
def note(name: str) -> str:
    ran.append(name)
    return name


@celeriac.task(name="revoked.join")
def join(names: list[str]) -> str:
    return " ".join(names)


@pytest.fixture(scope="module", params=RECORDED)
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flask]:
    with system(request.param, tmp_path_factory.mktemp("revoked"), celeriac) as app:
        yield app


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """No worker of this process knows what another one was told."""
    ran.clear()
    state.revoked.clear()


def test_while_no_worker_is_there(app: Flask) -> None:
    soon = datetime.now(timezone.utc) + timedelta(seconds=0.2)
    waiting = [note.delay("queued"), note.apply_async(("dated",), eta=soon)]
    for sent in waiting:
        sent.revoke()
    state.revoked.clear()
    with working(app):
        assert note.delay("fine").get(timeout=60) == "fine"
        for sent in waiting:
            with pytest.raises(TaskRevokedError):
                sent.get(timeout=60)
    assert not {"queued", "dated", "late"} & set(ran)
    celery: Any = app.extensions["celery"]
    assert [operations.show(celery, sent.id).state for sent in waiting] == ["revoked"] * 2


def test_before_it_is_sent(app: Flask) -> None:
    celery: Any = app.extensions["celery"]
    celery.control.revoke(["not sent yet"])
    state.revoked.clear()
    with working(app):
        note.apply_async(("late",), task_id="not sent yet")
        assert note.delay("fine").get(timeout=60) == "fine"
    assert not {"queued", "dated", "late"} & set(ran)
    revoked = operations.list_tasks(celery, Filter(states=("revoked",))).tasks
    assert revoked[0].id == "not sent yet"


def test_a_chord_hears_of_a_member_that_was_revoked(app: Flask) -> None:
    body = chord([note.s("one").set(task_id="member"), note.s("two")])(join.s())
    app.extensions["celery"].control.revoke("member")
    state.revoked.clear()
    with working(app), pytest.raises(Exception, match=r"revoked|Dependency"):
        body.get(timeout=60, disable_sync_subtasks=False)
