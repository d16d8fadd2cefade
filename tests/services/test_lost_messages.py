"""A task whose message Redis has lost is sent again from its record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import chord, states
from celery.app.task import Context
from celery.exceptions import TaskRevokedError
from flask import Flask

from flask_celeriac import Celeriac, operations
from flask_celeriac.records.description import CRASHES
from flask_celeriac.worker import reconciler

from .conftest import working
from .gate import Gate
from .systems import system

celeriac = Celeriac()


@celeriac.task(name="lost.double")
def double(number: int) -> int:
    return 2 * number


@celeriac.task(name="lost.total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@celeriac.task(name="lost.early", acks_late=False)
def early(number: int) -> int:
    return number


@celeriac.task(name="lost.badly")
def badly(said: str) -> None:
    raise ValueError(said)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    monkeypatch.setattr(reconciler, "AGE", 0.0)
    with system("redis+postgresql", tmp_path, celeriac) as app:
        yield app


def client_of(app: Flask) -> Any:
    return redis.Redis.from_url(app.config["CELERY"]["broker_url"])


def test_what_redis_has_forgotten_runs(app: Flask) -> None:
    celery = app.extensions["celery"]
    kept = double.delay(1)
    assert reconciler.look(celery, {}) == {}
    alone, dated = double.delay(2), double.apply_async((3,), countdown=0.5)
    body = chord([double.s(4), double.s(5)])(total.s())
    taken_back, late = double.delay(6), double.apply_async((7,), expires=0.01)
    taken_back.revoke()
    client = client_of(app)
    (message,) = client.lrange("system", -1, -1)
    client.delete("system")
    client.lpush("system", message)  # of all these the first one
    missing = reconciler.look(celery, {})
    assert {alone.id, dated.id, late.id} < set(missing)
    assert not {kept.id, taken_back.id} & set(missing)
    assert client.llen("system") == 1
    seen = dict(missing)
    assert reconciler.look(celery, missing) == {}
    assert client.llen("system") == 6
    reconciler.look(celery, seen)  # another worker that missed them too
    assert client.llen("system") == 6
    with working(app):
        results = [each.get(timeout=60) for each in (kept, alone, dated, body)]
        late.get(timeout=60, propagate=False)
    assert results == [2, 4, 6, 18]
    found = [operations.show(celery, each.id).state for each in (alone, taken_back, late)]
    assert found == ["succeeded", "revoked", "expired"]


def begin(app: Flask, sent: Any, name: str, args: list[Any]) -> Context:
    """Have a worker begin a task that nobody hears of again."""
    context = Context(
        {"id": sent.id, "task": name, "args": args, "kwargs": {}, "retries": 0,
         "hostname": "celery@gone", "delivery_info": {"routing_key": "system"}}
    )  # fmt: skip
    app.extensions["celery"].recorder.began(context, again=False, limit=5)
    return context


def test_a_run_whose_worker_and_message_are_gone(app: Flask) -> None:
    celery = app.extensions["celery"]
    sent = double.delay(8)
    begin(app, sent, "lost.double", [8])
    client_of(app).delete("system")
    missing = reconciler.look(celery, {})
    assert list(missing) == [sent.id]
    reconciler.look(celery, missing)
    with working(app):
        assert sent.get(timeout=60) == 16


def test_a_message_that_a_dead_worker_only_had_was_no_attempt(app: Flask) -> None:
    """Redis counts the deaths of workers that had a message, whether they had begun it or not."""
    celery = app.extensions["celery"]
    result = double.apply_async((1,), headers={CRASHES: 1})
    with working(app):
        assert result.get(timeout=30) == 2
    task = operations.find(celery, result.id)
    assert task.attempts == 1
    assert operations.attempts(celery, result.id) == []


@pytest.mark.parametrize("claims", [True, False], ids=["with claims", "kombu's own"])
def test_what_waits_under_a_prefix_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claims: bool
) -> None:
    monkeypatch.setattr(reconciler, "AGE", 0.0)
    options = {"global_keyprefix": "shop.", "claims": claims}
    with system("redis+postgresql", tmp_path, celeriac, broker_transport_options=options) as app:
        celery = app.extensions["celery"]
        sent = {double.delay(1).id, double.apply_async((2,), priority=9).id}
        with celery.connection_for_read() as connection, connection.channel() as channel:
            taken = channel.basic_get("system")
            assert taken.headers["id"] in sent
            assert reconciler.messages(celery) == sent
            assert reconciler.look(celery, {}) == {}
            taken.requeue()


def test_what_is_acknowledged_early_is_left_alone(app: Flask) -> None:
    celery = app.extensions["celery"]
    early.delay(1)  # as far as its record says: that a worker has begun it may be missing there
    begin(app, early.delay(2), "lost.early", [2])
    late = double.delay(3)
    client_of(app).delete("system")
    missing = reconciler.look(celery, {})
    assert list(missing) == [late.id]
    reconciler.look(celery, missing)
    assert client_of(app).llen("system") == 1


@contextmanager
def results_in(url: str, tmp_path: Path) -> Iterator[Flask]:
    """An application whose results are not where its records are."""
    with system("redis+postgresql", tmp_path, celeriac, result_backend=url) as app:
        yield app


def test_what_has_ended_elsewhere_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "AGE", 0.0)
    with results_in("cache+memory://", tmp_path) as app:
        celery = app.extensions["celery"]
        good, begun, bad, late, gone, lost = (
            double.delay(1), double.delay(2), badly.delay("no"), double.delay(3), double.delay(4),
            double.delay(5),
        )  # fmt: skip
        begin(app, begun, "lost.double", [2])
        begin(app, bad, "lost.badly", ["no"])
        for each, result in ((good, 2), (begun, 4)):
            celery.backend.store_result(each.id, result, states.SUCCESS)
        celery.backend.store_result(bad.id, ValueError("no"), states.FAILURE, traceback="here")
        celery.backend.store_result(late.id, TaskRevokedError("expired"), states.REVOKED)
        celery.backend.store_result(gone.id, TaskRevokedError("revoked"), states.REVOKED)
        celery.backend.store_result(lost.id, None, states.STARTED)
        client_of(app).delete("system")
        missing = reconciler.look(celery, {})
        assert len(missing) == 6
        assert reconciler.look(celery, missing) == {}
        assert client_of(app).llen("system") == 1
        records = {
            each.id: operations.show(celery, each.id) for each in (good, begun, bad, late, gone)
        }
        found = [each.state for each in records.values()]
        assert found == ["succeeded", "succeeded", "failed", "expired", "revoked"]
        assert (records[bad.id].error_type, records[bad.id].error_message) == ("ValueError", "no")
        with working(app):
            assert lost.get(timeout=60) == 10


def test_nothing_is_sent_while_nobody_knows_how_it_ended(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    redis_url: str,
) -> None:
    monkeypatch.setattr(reconciler, "AGE", 0.0)
    with Gate(redis_url) as door, results_in(door.url, tmp_path) as app:
        celery = app.extensions["celery"]
        lost = double.apply_async((1,), ignore_result=True).id
        client_of(app).delete("system")
        missing = reconciler.look(celery, {})
        door.silent()
        assert list(reconciler.look(celery, dict(missing))) == [lost]
        assert f"Whether task {lost} has ended cannot be read just now" in caplog.text
        assert client_of(app).llen("system") == 0
        door.open()
        assert reconciler.look(celery, missing) == {}
        assert client_of(app).llen("system") == 1
