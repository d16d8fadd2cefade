"""What was sent is answered as sent, whatever the database with its record says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from celery.signals import before_task_publish
from flask import Flask
from kombu import pools
from sqlalchemy import select

from flask_celeriac.database import engine_for
from flask_celeriac.tables import audit
from tests.api.conftest import API, IDLE, Client, make_app
from tests.services.gate import Gate

#: A database that nobody reaches.
AWAY = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"


class Place:
    """An application on Redis, and what is in its queue."""

    def __init__(self, folder: Path, broker: str, database: str | None, **hooks: Any) -> None:
        self.broker = broker
        settings = {"broker_url": broker}
        self.app: Flask = make_app(folder, database=database, CELERY=settings, **hooks)
        self.api = Client(self.app.test_client())

    def waiting(self) -> int:
        with redis.Redis.from_url(self.broker) as server:
            return int(server.llen(IDLE))


Make = Callable[..., Place]


@pytest.fixture
def make(tmp_path: Path, redis_url: str) -> Iterator[Make]:
    yield lambda database=None, **hooks: Place(tmp_path, redis_url, database, **hooks)
    pools.reset()


class Way:
    """The way to a database, until it is closed."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.url = "postgresql+psycopg:" + gate.url.partition(":")[2]
        self.ends = False

    def actor(self) -> str:
        """Who asks: asked for once more when a change was made, to note who made it."""
        if self.ends:
            self.gate.close()
        return "ann"


@pytest.fixture
def way(postgres_url: str) -> Iterator[Way]:
    with Gate(postgres_url) as gate, ExitStack() as stack:
        gate.open()
        way = Way(gate)
        stack.callback(lambda: engine_for(way.url).dispose())
        yield way


def test_without_records_nothing_is_sent(make: Make) -> None:
    place = make()
    for headers in ({}, {"Idempotency-Key": "key"}, {"Prefer": "wait=1"}):
        response = place.api("POST", "/types/api.idle/tasks", {}, headers=headers)
        assert response.status_code == 501
        assert response.json is not None
        assert response.json["type"] == "urn:flask-celeriac:records-disabled"
        assert "CELERIAC_DATABASE" in response.json["detail"]
    assert place.waiting() == 0


@pytest.mark.parametrize("headers", [{}, {"Prefer": "wait=5"}])
def test_what_is_sent_while_the_records_are_away_is_accepted(
    make: Make, headers: dict[str, str]
) -> None:
    place = make(AWAY, actor=lambda: "ann")
    response = place.api("POST", "/types/api.idle/tasks", {"args": [1]}, headers=headers)
    assert response.status_code == 202
    task = response.json
    assert task is not None
    assert (task["name"], task["state"], task["labels"]) == ("api.idle", "queued", ["actor:ann"])
    assert response.headers["Location"] == f"{API}/tasks/{task['id']}"
    assert response.headers["Retry-After"] == "1"
    assert "Preference-Applied" not in response.headers
    assert place.waiting() == 1


def test_what_needs_the_records_before_is_not_sent(make: Make) -> None:
    place = make(AWAY)
    headers = {"Idempotency-Key": "key"}
    assert place.api("POST", "/types/api.idle/tasks", {}, headers=headers).status_code == 503
    assert place.api("POST", "/tasks/any/retry").status_code == 503
    assert place.waiting() == 0


def test_records_that_go_away_when_a_change_was_made(make: Make, way: Way) -> None:
    place = make(way.url, actor=way.actor)
    task = place.api.start("api.idle", 1)
    path = f"/tasks/{task['id']}/"
    way.ends = True
    response = place.api("POST", path + "revoke")
    assert response.status_code == 202
    assert response.json is not None
    assert (response.json["id"], response.json["name"]) == (task["id"], "api.idle")


def test_records_that_go_away_when_a_task_was_sent_again(make: Make, way: Way) -> None:
    place = make(way.url, actor=way.actor)
    old = place.api.start("api.idle", 1)
    assert place.api("POST", f"/tasks/{old['id']}/revoke").status_code == 202
    way.ends = True
    response = place.api("POST", f"/tasks/{old['id']}/retry", headers={"Prefer": "wait=5"})
    assert response.status_code == 202
    new = response.json
    assert new is not None
    assert response.headers["Location"] == f"{API}/tasks/{new['id']}"
    assert (new["name"], new["state"], new["queue"]) == ("api.idle", "queued", IDLE)
    assert (new["retry_of"], new["labels"]) == (old["id"], ["actor:ann"])
    assert place.waiting() == 2


def test_records_that_go_away_before_a_key_is_done_with(make: Make, way: Way) -> None:
    place = make(way.url, actor=way.actor)
    assert place.api.get("/tasks/count")["count"] == 0
    headers = {"Idempotency-Key": "key"}
    calls: list[None] = []

    def actor() -> str:
        calls.append(None)
        way.ends = len(calls) == 3  # to claim the key, to send the task, and to note it
        return way.actor()

    place = make(way.url, actor=actor)
    response = place.api("POST", "/types/api.idle/tasks", {}, headers=headers)
    assert response.status_code == 202
    assert place.waiting() == 1


def test_records_that_do_not_answer_keep_nobody_waiting_when_a_task_was_sent(
    make: Make, postgres_url: str
) -> None:
    with Gate(postgres_url) as gate:
        gate.silent()
        place = make("postgresql+psycopg:" + gate.url.partition(":")[2])
        response = place.api("POST", "/types/api.idle/tasks", {}, headers={"Prefer": "wait=5"})
    assert response.status_code == 202
    assert place.waiting() == 1


def test_what_was_sent_before_the_broker_went_away_is_told(
    tmp_path: Path, redis_url: str, way: Way
) -> None:
    sent: list[str] = []

    def look(headers: Any, **_: Any) -> None:
        if sent:
            gate.cut()
            gate.silent()
        sent.append(headers["id"])

    with Gate(redis_url) as gate:
        gate.open()
        place = Place(tmp_path, gate.url, way.url)
        ids = [place.api.start("api.idle", number)["id"] for number in range(3)]
        for each in ids:
            assert place.api("POST", f"/tasks/{each}/revoke").status_code == 202
        before_task_publish.connect(look)
        try:
            body = {"filter": {"state": ["revoked"]}, "expected": 3}
            response = place.api("POST", "/tasks/retry", body)
            nothing = place.api("POST", "/tasks/retry", body)
        finally:
            before_task_publish.disconnect(look)
        pools.reset()
    assert (response.status_code, nothing.status_code) == (503, 503)
    assert response.json is not None
    assert response.json["outcome"] == {"done": 1, "refused": {}, "made": {ids[2]: sent[0]}}
    assert "1 of 3" in response.json["detail"]
    assert nothing.json is not None
    assert "outcome" not in nothing.json
    with place.app.app_context(), engine_for(way.url).connect() as connection:
        noted = select(audit.c.target).where(audit.c.verb == "retry")
        assert connection.execute(noted).scalars().all() == [ids[2]]
