"""With secrets, workers run only what was signed with one, whoever can write to the broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import chain, chord, group
from flask import Flask
from kombu import Consumer

from flask_celeriac import Celeriac, operations, signing
from flask_celeriac.records.task_record import Filter, TaskRecord
from flask_celeriac.worker import reconciler
from tests.support.processes import wait_for

from .conftest import working
from .systems import RECORDED, inject, system

NEW, OLD = "a new secret of some length", "an old secret of some length"

celeriac = Celeriac()
ran: list[Any] = []
headers_seen: list[Any] = []


@celeriac.task(name="signed.add", bind=True)
def add(self: Any, a: int, b: int = 1) -> int:
    ran.append(a)
    headers_seen.append(self.request.headers)
    return a + b


@celeriac.task(name="signed.total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@celeriac.task(name="signed.again", bind=True, max_retries=2)
def again(self: Any) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return int(self.request.retries)


@celeriac.task(name="signed.replaced", bind=True)
def replaced(self: Any) -> Any:
    raise self.replace(add.s(20, 3))


@celeriac.task(name="signed.fail")
def fail() -> None:
    raise RuntimeError("no")


@pytest.fixture(scope="module", params=RECORDED)
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flask]:
    folder = tmp_path_factory.mktemp("signed")
    with system(request.param, folder, celeriac, CELERIAC_SIGNING_KEYS=f"{NEW},{OLD}") as app:
        yield app


@pytest.fixture
def celery(app: Flask) -> Iterator[Any]:
    celery = app.extensions["celery"]
    ran.clear()
    headers_seen.clear()
    yield celery
    for task in operations.list_tasks(celery).tasks:
        operations.discard(celery, task.id)


def dead(celery: Any) -> list[TaskRecord]:
    return operations.list_tasks(celery, Filter(states=("dead",))).tasks


def captured(celery: Any, send: Any) -> Any:
    """The message of a call, taken off its queue."""
    send()
    found: list[Any] = []
    with celery.connection_for_read() as connection:
        queue = celery.amqp.queues["system"]
        with Consumer(connection, [queue], on_message=found.append, accept=None):
            connection.drain_events(timeout=20)
            found[0].ack()
            return found[0]


def put_back(app: Flask, message: Any, body: Any = None, **headers: Any) -> None:
    inject(
        app, message.body if body is None else body, headers={**message.headers, **headers},
        content_type=message.content_type, content_encoding=message.content_encoding,
        reply_to=message.properties.get("reply_to"),
    )  # fmt: skip


def test_all_that_sends_signs(app: Flask, celery: Any) -> None:
    with working(app):
        results = [
            (add.delay(1), 2),
            (add.delay(2), 3),
            (add.apply_async((1,), countdown=0.01, expires=60, priority=3), 2),
            (add.signature((1,), stamps={"customer": "c1"}).apply_async(), 2),
            (chain(add.s(1), add.s(2), add.s(3)).delay(), 7),
            (chord([add.s(1), add.s(2)], total.s()).delay(), 5),
            (chain(add.s(1), group(add.s(1), add.s(2)), total.s()).delay(), 7),
            (again.delay(), 2),
            (replaced.delay(), 23),
        ]
        add.delay_many([(7,), (8,)])
        failing = fail.apply_async(link_error=add.si(40))
        for result, expected in results:
            assert result.get(timeout=60) == expected
        assert failing.get(timeout=60, propagate=False)
        wait_for(lambda: {7, 8, 40} <= set(ran), "not all ran")
    assert dead(celery) == []


def test_what_is_not_signed_does_not_run(app: Flask, celery: Any) -> None:
    message = captured(celery, lambda: add.delay(100))
    body = json.loads(message.body)
    stolen = {"timelimit": [1, 1], "eta": "2020-01-01T00:00:00+00:00", "task": "signed.fail"}
    put_back(app, message, **{signing.HEADER: None})
    put_back(app, message, json.dumps([[101], *body[1:]]))
    put_back(app, message, json.dumps([*body[:2], {"callbacks": [add.s(1)]}]))
    put_back(app, message, id="another")
    for name, value in stolen.items():
        put_back(app, message, **{name: value})
    with working(app):
        wait_for(lambda: len(dead(celery)) == 7, "not all are dead letters")
        assert ran == []
        put_back(app, message)
        wait_for(lambda: ran == [100], "the true one does not run")
    letters = dead(celery)
    assert {str(task.error_message).partition(":")[0] for task in letters} == {"signature"}
    assert all("it says that it is task " in str(task.error_message) for task in letters)
    # What is forged is not listed under the id it claims.
    assert message.headers["id"] not in {task.id for task in letters}
    assert "another" not in {task.id for task in letters}


@pytest.mark.parametrize("app", ["redis+postgresql"], indirect=True)
def test_what_was_not_signed_is_not_sent_again_from_its_record(
    app: Flask, celery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender can write records, and has no secret: who sends it again would sign it."""
    message = captured(celery, lambda: add.delay(7))
    task_id = message.headers["id"]
    put_back(app, message, **{signing.HEADER: None})
    with working(app):
        wait_for(lambda: dead(celery), "it is no dead letter")
    monkeypatch.setattr(reconciler, "AGE", 0.0)
    missing = reconciler.look(celery, {})
    assert set(missing) == {task_id}
    assert reconciler.look(celery, missing) == {}
    task = operations.find(celery, task_id)
    assert (task.state, task.error_type) == ("dead", "signature")
    with working(app):
        assert add.delay(8).get(timeout=60) == 9
    assert ran == [8]


def test_nobody_is_told_of_what_is_not_signed(app: Flask, celery: Any) -> None:
    """Whatever else is wrong with it, which is seen before the signature is."""
    waiting = captured(celery, lambda: add.delay(5))
    task_id = waiting.headers["id"]
    errback = {**dict(add.si(66)), "immutable": True}
    body = json.dumps([[], {}, {"errbacks": [errback], "callbacks": [errback]}])
    usual = {"task": "signed.add", "id": task_id, "root_id": task_id, "retries": 0}
    wrong: list[dict[str, Any]] = [
        {"retries": -1}, {"expires": "whenever"}, {"x-long": "x" * 70_000}, {"timelimit": [1]},
        {"compression": "nonsense"}, {"stamped_headers": [1]}, {"task": "signed.unknown"},
    ]  # fmt: skip
    for more in wrong:
        inject(app, body, headers={**usual, **more})
    inject(app, body, headers={"task": "signed.add"})
    inject(app, json.dumps([[], {}, {"errbacks": [errback], "chain": 1}]), headers=usual)
    inject(app, body, headers=usual, content_encoding="utf-7")
    with working(app):
        wait_for(lambda: len(dead(celery)) == len(wrong) + 3, "not all are dead letters")
        put_back(app, waiting)
        assert celery.AsyncResult(task_id).get(timeout=60) == 6
    assert ran == [5]  # what the others would have sent came before it
    assert task_id not in {task.id for task in dead(celery)}
    assert {task.root_id for task in dead(celery)} <= {None} | {task.id for task in dead(celery)}


def test_of_what_is_signed_and_cannot_run_those_are_told_who_wait(app: Flask, celery: Any) -> None:
    message = captured(celery, lambda: add.apply_async((1,), link_error=add.si(77)))
    content = (message.content_type, message.content_encoding)
    found = {**message.headers, "retries": -1}
    signed = signing.Signed(found, content, message.body, message.properties.get("reply_to"))
    put_back(app, message, retries=-1, **{signing.HEADER: signed.sign([NEW.encode()])})
    with working(app):
        wait_for(lambda: ran == [77], "its errback does not run")
    assert [task.id for task in dead(celery)] == [message.headers["id"]]


def test_what_has_ended_is_not_run_when_it_is_sent_once_more(app: Flask, celery: Any) -> None:
    message = captured(celery, lambda: add.delay(9))
    for _ in range(2):
        put_back(app, message)
    with working(app):
        assert celery.AsyncResult(message.headers["id"]).get(timeout=60) == 10
        put_back(app, message)
        assert add.delay(1).get(timeout=60) == 2  # and all before it are through
    assert ran == [9, 1]
    assert dead(celery) == []


def test_a_header_more_does_not_run_it_again(app: Flask, celery: Any) -> None:
    message = captured(celery, lambda: add.delay(9))
    root = {"celeriac_url_root": "https://elsewhere.example/"}
    with working(app):
        put_back(app, message, headers={"sentry-trace": "1", **root})
        assert celery.AsyncResult(message.headers["id"]).get(timeout=60) == 10
        for more in ({"headers": {}}, {"headers": {"sentry-trace": "2"}}, {"headers": None}):
            put_back(app, message, **more)
        for name in ("_protected", "called_directly", "is_eager"):
            put_back(app, message, **{name: 1})
        assert add.delay(1).get(timeout=60) == 2  # and all before it are through
        wait_for(lambda: len(dead(celery)) == 3, "no dead letters")
    assert ran == [9, 1]
    assert headers_seen[0]["sentry-trace"] == "1"
    assert root.keys().isdisjoint(headers_seen[0])


def test_old_secrets_are_understood(app: Flask, celery: Any) -> None:
    message = captured(celery, lambda: add.delay(5))
    content = (message.content_type, message.content_encoding)
    reply_to = message.properties.get("reply_to")
    signed = signing.Signed(message.headers, content, message.body, reply_to)
    put_back(app, message, **{signing.HEADER: signed.sign([OLD.encode()])})
    with working(app):
        wait_for(lambda: ran == [5], "it does not run")
        put_back(app, message, **{signing.HEADER: signed.sign([b"somebody's own secret"])})
        wait_for(lambda: dead(celery), "no dead letter")
    assert "not among CELERIAC_SIGNING_KEYS" in str(dead(celery)[0].error_message)
