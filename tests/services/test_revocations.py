"""What is revoked does not run, also when no worker hears of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from celery import chord
from celery.exceptions import TaskRevokedError
from celery.worker import state
from flask import Flask

from flask_celeriac import Celeriac, operations
from flask_celeriac.broker import process_queries, queries
from flask_celeriac.errors import UnknownTaskError
from flask_celeriac.records.task_record import Filter, TaskRecord
from tests.support.processes import wait_for

from .conftest import working
from .systems import RECORDED, system

celeriac = Celeriac()
ran: list[str] = []
go = threading.Event()


@celeriac.task(name="revoked.note")
def note(name: str) -> str:
    ran.append(name)
    return name


@celeriac.task(name="revoked.until_told")
def until_told() -> str:
    ran.append("begun")
    go.wait(20)
    return "ended"


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
    go.clear()
    state.revoked.clear()


def test_what_a_pool_cannot_stop_goes_on_and_does_not_count(app: Flask, caplog: Any) -> None:
    celery = app.extensions["celery"]
    with working(app, "threads"), caplog.at_level("WARNING"):
        sent = until_told.delay()
        wait_for(lambda: ran, "it does not begin")
        operations.revoke(celery, sent.id, terminate=True)
        wait_for(lambda: "this pool cannot stop" in caplog.text, "nobody says so")
        go.set()
        assert note.delay("after").get(timeout=20) == "after"
    task = operations.show(celery, sent.id)
    assert (task.state, task.result) == ("revoked", None)
    assert [record for record in caplog.records if record.exc_info] == []


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


def known(app: Flask, task_id: str) -> TaskRecord:
    """What is told of a task but for where it is."""
    task = operations.show(app.extensions["celery"], task_id)
    return replace(task, state="", status=None, finished=None)


def heard_elsewhere(celery: Any, task_id: str) -> None:
    """What Celery does in a worker that hears of a revocation and does not have the task."""
    if celery.backend.get_state(task_id) in {"PENDING", "RECEIVED", "RETRY", "REJECTED"}:
        celery.backend.mark_as_revoked(task_id, reason="revoked", store_result=True)


def test_a_worker_that_does_not_have_it_leaves_a_run_alone(app: Flask) -> None:
    celery: Any = app.extensions["celery"]
    with working(app, pool="threads"):
        sent = until_told.delay()
        wait_for(lambda: "begun" in ran, "it did not begin")
        heard_elsewhere(celery, sent.id)
        assert operations.show(celery, sent.id).state == "running"
        go.set()
        assert sent.get(timeout=60) == "ended"
    assert operations.show(celery, sent.id).state == "succeeded"


def test_a_worker_that_hears_late_does_not_record_what_was_discarded(app: Flask) -> None:
    celery: Any = app.extensions["celery"]
    sent = note.delay("unwanted")
    operations.revoke(celery, sent.id)
    operations.discard(celery, sent.id)
    heard_elsewhere(celery, sent.id)
    with pytest.raises(UnknownTaskError):
        operations.show(celery, sent.id)


def test_what_others_take_back_is_recorded_by_who_hears_of_it(app: Flask) -> None:
    celery: Any = app.extensions["celery"]
    sent = note.apply_async(("unwanted",), countdown=600)
    heard_elsewhere(celery, sent.id)
    assert operations.show(celery, sent.id).state == "revoked"


@pytest.mark.parametrize("way", ["control", "result", "many", "terminate"])
def test_what_is_known_of_a_task_stays(app: Flask, way: str) -> None:
    celery: Any = app.extensions["celery"]
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"X-Request-ID": "req-1", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    ours = {"celeriac_schedule": "nightly", "celeriac_retry_of": "another"}
    with app.test_request_context(headers=headers):
        sent = note.apply_async(
            (way,), countdown=600, labels=["mine", way], headers=ours, priority=3, root_id="root",
            parent_id="above", group_id="group", chord=join.s(),
        )  # fmt: skip
    before = known(app, sent.id)
    assert (before.labels, before.schedule) == (("mine", way), "nightly")
    assert (before.request_id, before.trace_id, before.retry_of) == ("req-1", trace, "another")
    assert (before.root_id, before.parent_id) == ("root", "above")
    assert (before.group_id, before.chord_id) == ("group", "group")
    assert before.eta
    if way == "many":
        assert operations.apply_to_many(celery, "revoke", Filter(label=way), expected=1).done == 1
    elif way == "result":
        sent.revoke()
    else:
        celery.control.revoke(sent.id, terminate=way == "terminate")
    assert known(app, sent.id) == before
    assert operations.show(celery, sent.id).state == "revoked"


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


def test_a_run_that_goes_on_comes_to_its_end(app: Flask) -> None:
    with working(app, pool="threads"):
        sent = until_told.delay()
        wait_for(lambda: "begun" in ran, "it did not begin")
        sent.revoke()
        go.set()
        assert sent.get(timeout=60) == "ended"
    assert operations.show(app.extensions["celery"], sent.id).state == "succeeded"


def test_a_chord_hears_of_a_member_that_was_revoked(app: Flask) -> None:
    body = chord([note.s("one").set(task_id="member"), note.s("two")])(join.s())
    app.extensions["celery"].control.revoke("member")
    state.revoked.clear()
    with working(app), pytest.raises(Exception, match=r"revoked|Dependency"):
        body.get(timeout=60, disable_sync_subtasks=False)


def test_nobody_runs_what_a_worker_had_that_died(tmp_path: Path) -> None:
    with system("embedded", tmp_path, celeriac) as app:
        celery = app.extensions["celery"]
        sent = note.delay("cut off")
        with celery.ledger.store.file.transaction() as db:
            died = process_queries.add_process(db, os.getpid(), "that nobody holds", 2.0**40)
            queries.claim(db, "system", 1, queries.claim_token(died, 1), 0.0)
        assert operations.show(celery, sent.id).state == "running"
        operations.revoke(celery, sent.id)
        assert operations.show(celery, sent.id).state == "revoked"
