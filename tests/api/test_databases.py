"""The API's own tables, on each server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import pools
from sqlalchemy import select

from flask_celeriac.operations.sources import sources_of
from flask_celeriac.tables import audit
from tests.api.conftest import Client, make_app

SERVERS = {"postgres_url": "postgresql+psycopg", "mariadb_url": "mysql+pymysql"}


@pytest.fixture(params=SERVERS)
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    url: str = request.getfixturevalue(request.param)
    database = f"{SERVERS[request.param]}:" + url.partition(":")[2]
    app = make_app(tmp_path, database=database, actor=lambda: "ann")
    yield Client(app.test_client())
    sources_of(app.extensions["celery"]).engine.dispose()
    pools.reset()


def test_keys_and_changes_are_kept_on_a_server(api: Client) -> None:
    headers = {"Idempotency-Key": "Key"}
    first, second = (
        api("POST", "/types/api.idle/tasks", {}, headers=headers).headers["Location"]
        for _ in range(2)
    )
    assert first == second
    other = api("POST", "/types/api.idle/tasks", {"args": [1]}, headers=headers)
    assert other.status_code == 422
    case = api("POST", "/types/api.idle/tasks", {}, headers={"Idempotency-Key": "key"})
    assert case.headers["Location"] != first
    assert api("PUT", "/queues/night/pause").status_code == 204
    assert api("POST", f"/tasks/{first.rpartition('/')[2]}/revoke").status_code == 202
    assert api.get("/tasks/count?state=revoked") == {"count": 1, "capped": False}
    with sources_of(api.client.application.extensions["celery"]).engine.connect() as connection:
        rows = connection.execute(select(audit.c.verb, audit.c.actor).order_by(audit.c.id)).all()
    assert [tuple(row) for row in rows] == [
        (verb, "ann") for verb in ("start", "start", "pause", "revoke")
    ]
