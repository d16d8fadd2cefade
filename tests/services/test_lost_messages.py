"""A task whose message Redis has lost is sent again from its record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import chord
from celery.app.task import Context
from flask import Flask

from flask_celeriac import Celeriac, operations
from flask_celeriac.worker import reconciler

from .conftest import working
from .systems import system

celeriac = Celeriac()


@celeriac.task(name="lost.double")
def double(number: int) -> int:
    return 2 * number


@celeriac.task(name="lost.total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    monkeypatch.setattr(reconciler, "AGE", 0.0)
    with system("redis+postgresql", tmp_path, celeriac) as app:
        yield app


def client_of(app: Flask) -> Any:
    return app.extensions["celery"].connection_for_read().default_channel.client


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
    states = [operations.show(celery, each.id).state for each in (alone, taken_back, late)]
    assert states == ["succeeded", "revoked", "expired"]


def test_a_run_whose_worker_and_message_are_gone(app: Flask) -> None:
    celery = app.extensions["celery"]
    sent = double.delay(8)
    context = Context(
        {"id": sent.id, "task": "lost.double", "args": [8], "kwargs": {}, "retries": 0,
         "hostname": "celery@gone", "delivery_info": {"routing_key": "system"}}
    )  # fmt: skip
    celery.recorder.began(context, again=False, limit=5)
    client_of(app).delete("system")
    missing = reconciler.look(celery, {})
    assert list(missing) == [sent.id]
    reconciler.look(celery, missing)
    with working(app):
        assert sent.get(timeout=60) == 16


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
