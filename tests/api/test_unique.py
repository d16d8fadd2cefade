"""A unique task that is there already is answered in place of the one that was not sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from kombu import pools
from sqlalchemy import select

from flask_celeriac import Access, Celeriac
from flask_celeriac.operations.sources import sources_of
from flask_celeriac.tables import audit
from tests.api.conftest import API, Client

PATH = "/types/unique.alone/tasks"
celeriac = Celeriac()
#: Who asks.
asking = ["ann"]


@celeriac.task(name="unique.alone", http=True, unique=True, queue="idle")
def alone() -> None:
    """Waits for ever, and for one at a time."""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Client]:
    asking[:] = ["ann"]
    app = Flask("unique", instance_path=str(tmp_path))
    celeriac.init_app(app)
    api = celeriac.api(
        access=lambda: Access.OPERATE,
        actor=lambda: asking[0],
        owns=lambda task: f"actor:{asking[0]}" in task.labels,
    )
    app.register_blueprint(api, url_prefix=API)
    yield Client(app.test_client())
    pools.reset()


def test_the_one_that_is_there_is_answered(api: Client) -> None:
    first = api.start("unique.alone")
    for headers in ({}, {"Idempotency-Key": "one"}, {"Idempotency-Key": "one"}):
        response = api("POST", PATH, {}, headers=headers)
        assert response.status_code == 202
        assert response.json is not None
        assert response.json["id"] == first["id"]
        assert response.headers["Location"] == f"{API}/tasks/{first['id']}"
    assert [task["id"] for task in api.get("/tasks")["tasks"]] == [first["id"]]
    engine = sources_of(api.client.application.extensions["celery"]).engine
    with engine.connect() as connection:
        started = connection.execute(select(audit.c.target).where(audit.c.verb == "start"))
        assert [row.target for row in started] == [first["id"]]


def test_nobody_is_shown_that_of_others(api: Client) -> None:
    first = api.start("unique.alone")
    asking[:] = ["bob"]
    response = api("POST", PATH, {}, headers={"Idempotency-Key": "one"})
    assert response.status_code == 409
    assert response.json is not None
    assert response.json["type"] == "urn:flask-celeriac:task-state"
    assert first["id"] not in response.text
    asking[:] = ["ann"]
    api("POST", f"/tasks/{first['id']}/revoke")
    asking[:] = ["bob"]
    again = api("POST", PATH, {}, headers={"Idempotency-Key": "one"})
    assert again.status_code == 202


def test_a_retry_does_not_show_it_either(api: Client) -> None:
    first = api.start("unique.alone")
    api("POST", f"/tasks/{first['id']}/revoke")
    asking[:] = ["bob"]
    second = api.start("unique.alone")
    asking[:] = ["ann"]
    response = api("POST", f"/tasks/{first['id']}/retry", {})
    assert response.status_code == 409
    assert second["id"] not in response.text
    many = {"filter": {"state": ["revoked"]}, "expected": 1}
    response = api("POST", "/tasks/retry", many)
    assert response.json is not None
    assert (response.json["done"], response.json["made"]) == (0, {})
    assert list(response.json["refused"]) == [first["id"]]
