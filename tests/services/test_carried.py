"""What a message carries of the request that sent it, and the labels it was given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import beat, chain, signals
from flask import Flask

from flask_celeriac import Celeriac, Task, limits, operations
from flask_celeriac.errors import InvalidRequestError
from flask_celeriac.records.task_record import TaskRecord

from .conftest import MakeApp, working

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

celeriac = Celeriac()


@celeriac.task(name="carried.plain")
def plain(*_: Any) -> None:
    """Says nothing."""


@celeriac.task(name="carried.labelled", labels=["all", "of", "them"])
def labelled() -> None:
    """Says nothing either."""


@celeriac.task(name="carried.sender", bind=True)
def sender(self: Task[..., Any]) -> list[str]:
    if not self.request.retries:
        raise self.retry(countdown=0)
    return [plain.delay().id, plain.apply_async((1,), labels=["mine"]).id]


@celeriac.task(name="carried.marked", bind=True)
def marked(self: Task[..., Any]) -> list[str]:
    if not self.request.retries:
        raise self.retry(countdown=0)
    return sorted(self.request.headers)


@celeriac.periodic(3600, name="every hour")
@celeriac.task(name="carried.hourly")
def hourly() -> None:
    """Is sent by beat."""


@pytest.fixture
def app(make_app: MakeApp) -> Iterator[Flask]:
    app = make_app()
    celeriac.init_app(app)
    yield app
    app.extensions["celery"].close()


def requested(app: Flask, request_id: str | None, parent: str | None = None) -> Any:
    headers = {"X-Request-ID": request_id, "traceparent": parent}
    given = {name: value for name, value in headers.items() if value is not None}
    return app.test_request_context(headers=given)


def shown(app: Flask, task_id: str) -> TaskRecord:
    return operations.show(app.extensions["celery"], task_id)


def test_every_way_of_sending_carries_the_request(app: Flask) -> None:
    celery = app.extensions["celery"]
    for request_id in ("first", "second", None):
        with requested(app, request_id, request_id and f"00-{TRACE}-00f067aa0ba902b7-01"):
            many = [f"{request_id} {number}" for number in range(2)]
            plain.delay_many([(1,), (2,)], ids=many)
            sent = [
                *(plain.delay().id, plain.delay(1).id, *many, celery.send_task("carried.plain").id),
                *(plain.apply_async((), {}, priority=3).id, plain.si().delay().id),
            ]
        trace = TRACE if request_id else None
        for task_id in sent:
            task = shown(app, task_id)
            assert (task.request_id, task.trace_id) == (request_id, trace)


@pytest.mark.parametrize(
    ("request_id", "parent"),
    [
        ("two words", f"00-{TRACE}-00f067aa0ba902b7"),
        ("x" * 256, f"ff-{TRACE}-00f067aa0ba902b7-01"),
        ("\u00fc", f"00-{'0' * 32}-00f067aa0ba902b7-01"),
        ("", f"00-{TRACE.upper()}-00f067aa0ba902b7-01"),
    ],
)
def test_what_is_no_id_is_left_out(app: Flask, request_id: str, parent: str) -> None:
    with requested(app, request_id, parent):
        for _ in range(2):
            task = shown(app, plain.delay().id)
            assert (task.request_id, task.trace_id) == (None, None)


def test_tasks_that_tasks_send_belong_to_the_same_request(app: Flask) -> None:
    with requested(app, "one", f"00-{TRACE}-00f067aa0ba902b7-01-more"):
        result = chain(sender.si().set(labels=["kept"]), plain.si())()
    with working(app):
        ids = result.parent.get(timeout=30)
        result.get(timeout=30)
    for task_id in (result.parent.id, *ids, result.id):
        task = shown(app, task_id)
        assert (task.request_id, task.trace_id) == ("one", TRACE)
    labels = [shown(app, task_id).labels for task_id in (result.parent.id, *ids, result.id)]
    assert labels == [("kept",), (), ("mine",), ()]


def test_a_repeated_attempt_leaves_behind_what_was_true_of_the_last_one(app: Flask) -> None:
    since = {"celeriac_unknown_since": 1.0}
    limited = {limits.TICKET: -1, limits.PERMIT: [0, 1.0], limits.WAITS: "slot"}
    with app.app_context():
        result = marked.apply_async(headers={"mine": 1, **since, **limited, "celeriac_crashes": 1})
    with working(app):
        assert result.get(timeout=30) == ["mine"]


def test_labels(app: Flask) -> None:
    with app.app_context():
        own = labelled.delay().id, labelled.delay().id
        more = labelled.apply_async(labels=["of", "\u00fcber"]).id
        headers = {"celeriac_labels": ["x"]}
        other = operations.start(app.extensions["celery"], "carried.plain", headers=headers)
    assert {shown(app, task_id).labels for task_id in own} == {("all", "of", "them")}
    assert shown(app, more).labels == ("all", "of", "them", "\u00fcber")
    assert shown(app, other).labels == ("x",)


@pytest.mark.parametrize("labels", ["word", [""], [7], ["x" * 500], ["\0"], ["\ud800"]])
def test_labels_that_cannot_be_any(app: Flask, labels: Any) -> None:
    with app.app_context():
        with pytest.raises(InvalidRequestError, match="labels"):
            plain.apply_async(labels=labels)
        assert operations.list_tasks(app.extensions["celery"]).tasks == []


def test_beat_says_which_entry_it_is(make_app: MakeApp) -> None:
    entries = {"nightly": {"task": "carried.plain", "schedule": 3600.0, "options": {"priority": 1}}}
    app = make_app(CELERY={"beat_schedule": entries})
    celeriac.init_app(app)
    celery = app.extensions["celery"]
    service = beat.Service(celery, scheduler_cls="celery.beat:Scheduler")
    signals.beat_init.send(sender=service)
    for entry in service.scheduler.schedule.values():
        service.scheduler.apply_async(entry, advance=False)
    found = {task.schedule: task.name for task in operations.list_tasks(celery).tasks}
    assert found == {"nightly": "carried.plain", "every hour": "carried.hourly"}
    assert entries["nightly"]["options"] == {"priority": 1}
    celery.close()
