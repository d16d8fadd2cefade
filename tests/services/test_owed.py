"""What has to be recorded and could not be is recorded later."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from celery.app.task import Context
from flask import Flask
from sqlalchemy import text

from flask_celeriac import Celeriac, operations, owed
from flask_celeriac.database import engine_for
from tests.support.processes import wait_for

from .conftest import Worker, working
from .systems import environ_of, system
from .test_locked_records import ended, locked

celeriac = Celeriac()
locks = ExitStack()
here: list[Flask] = []


@celeriac.task(name="owed.lock")
def lock(number: int) -> int:
    locks.enter_context(locked(here[0]))
    return number


@celeriac.task(name="owed.unlock")
def unlock(number: int) -> int:
    locks.close()
    return number


@pytest.fixture(params=["redis+postgresql", "rabbitmq+mariadb"])
def app(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Flask]:
    """An application whose results are not where its records are."""
    monkeypatch.setattr(owed, "owed", owed.Owed())
    with system(request.param, tmp_path, celeriac, result_backend="cache+memory://") as app, locks:
        operations.list_tasks(app.extensions["celery"])  # which makes the tables
        here[:] = [app]
        yield app


def test_an_end_is_written_when_the_table_is_free_again(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(owed, "PAUSE", 0.1)
    celery = app.extensions["celery"]
    first, second = lock.delay(1), unlock.delay(2)
    with working(app), caplog.at_level(logging.WARNING):
        assert [each.get(timeout=60) for each in (first, second)] == [1, 2]
        for each in (first, second):
            wait_for(lambda task_id=each.id: ended(celery, task_id), "its end is not recorded")
    assert f"Task {first.id} cannot be recorded just now" in caplog.text
    found = [operations.show(celery, each.id) for each in (first, second)]
    assert [(each.state, each.name) for each in found] == [
        ("succeeded", "owed.lock"),
        ("succeeded", "owed.unlock"),
    ]


def context(sent: Any, **more: Any) -> Context:
    known = {"id": sent.id, "task": "owed.unlock", "args": [1], "kwargs": {}, "retries": 0}
    return Context({**known, "hostname": "celery@here", "delivery_info": {}, **more})


@pytest.fixture
def resting(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """What has the recorder rest, as after a failure, or go on."""
    monkeypatch.setattr(owed, "PAUSE", 3600)
    recorder = app.extensions["celery"].recorder

    def rest(on: bool) -> None:
        recorder._rests_until = math.inf if on else 0.0

    return rest


def test_an_end_that_comes_late_takes_nothing_back(
    app: Flask, resting: Callable[[bool], None]
) -> None:
    celery = app.extensions["celery"]
    sent = unlock.delay(1)
    resting(True)
    first = context(sent)
    celery.recorder.began(first, again=False, limit=0)
    celery.recorder.ended(sent.id, first, "retrying", ValueError("no"))
    resting(False)
    celery.recorder.began(context(sent, retries=1), again=False, limit=0)
    assert owed.owed.settle()
    task = operations.show(celery, sent.id)
    assert (task.state, task.attempts) == ("running", 2)
    assert [each.error_message for each in operations.attempts(celery, sent.id)] == ["no"]


def test_a_run_that_ended_without_a_state(app: Flask, resting: Callable[[bool], None]) -> None:
    celery = app.extensions["celery"]
    sent = unlock.delay(1)
    run = context(sent)
    celery.recorder.began(run, again=False, limit=0)
    resting(True)
    celery.recorder.left(run)
    assert operations.show(celery, sent.id).state == "running"
    celery.recorder.settle()
    assert operations.show(celery, sent.id).state == "succeeded"


@pytest.mark.parametrize("is_sent_then", [False, True])
def test_what_was_not_sent(app: Flask, resting: Callable[[bool], None], is_sent_then: bool) -> None:
    celery = app.extensions["celery"]
    unlock.apply_async((1,), task_id="one")
    resting(True)
    celery.recorder.not_sent("one")
    resting(False)
    if is_sent_then:
        unlock.apply_async((1,), task_id="one")
    assert owed.owed.settle()
    assert len(operations.list_tasks(celery).tasks) == is_sent_then


def test_no_more_is_kept_than_there_is_room_for(
    app: Flask,
    resting: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(owed, "MOST", 1)
    celery = app.extensions["celery"]
    kept, left = unlock.delay(1), unlock.delay(2)
    resting(True)
    for each in (kept, left):
        celery.recorder.ended(each.id, context(each), "succeeded")
    assert f"Task {left.id} is not recorded: 1 others wait" in caplog.text
    assert owed.owed.settle()
    assert [operations.show(celery, each.id).state for each in (kept, left)] == [
        "succeeded",
        "queued",
    ]


@pytest.mark.parametrize("app", ["redis+postgresql"], indirect=True)
def test_what_the_database_will_never_take_is_not_kept(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    url = app.config["CELERIAC_DATABASE"]
    debts = owed.Owed()
    debts.add(owed.Write(url, "one", lambda db: db.execute(text("SELECT 1 / 0"))))
    assert debts.settle()
    assert "Task one cannot be recorded: " in caplog.text


@pytest.mark.parametrize("app", ["redis+postgresql"], indirect=True)
def test_a_task_that_can_never_be_recorded_costs_no_other_its_record(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    lock.apply_async((1,), task_id="x" * 300)
    assert "cannot be recorded" in caplog.text
    after = lock.delay(1)
    assert operations.show(app.extensions["celery"], after.id).state == "queued"


def test_what_cannot_be_written_stays_and_others_databases_are_written(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owed, "PAUSE", 3600)
    debts, wrote = owed.Owed(), threading.Event()
    away = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"
    for url in (away, away, app.config["CELERIAC_DATABASE"]):
        debts.add(owed.Write(url, "one", lambda _: wrote.set()))
    assert not debts.settle()
    assert wrote.is_set()
    assert len(debts) == 2


SHOP = """
from flask import Flask
from flask_celeriac import Celeriac, owed

owed.PAUSE = 3600
app = Flask("shop")
app.config["CELERY_RESULT_BACKEND"] = "file:///" + app.root_path
celeriac = Celeriac(app)
celery = app.extensions["celery"]


@celeriac.task
def one():
    celery.recorder._rests_until = float("inf")
"""


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_process_that_ends_writes_it(start: Callable[..., Worker], pool: str) -> None:
    with environ_of("redis+postgresql") as environ:
        worker = start(SHOP, "-P", pool, "-c", "1", "-l", "INFO", **environ)
        database = environ["FLASK_CELERIAC_DATABASE"]
        app = Flask("other")
        app.config.update(
            CELERY_BROKER_URL=environ["CELERY_BROKER_URL"], CELERIAC_DATABASE=database
        )
        Celeriac(app)
        celery = app.extensions["celery"]
        sent = celery.send_task("shop.one")
        worker.wait_for(f"Task shop.one[{sent.id}] succeeded")
        assert operations.show(celery, sent.id).state == "running"
        worker.stop()
        assert operations.show(celery, sent.id).state == "succeeded"
        engine_for(database).dispose()
        celery.close()
