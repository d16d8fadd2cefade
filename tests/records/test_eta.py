"""When a task may begin, as its record keeps it, on each database."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from flask_celeriac import database, sqlite, states
from flask_celeriac.records import write_queries
from flask_celeriac.tables import record

#: What is written of a task one after the other, and what is kept then.
WRITTEN = [
    (states.SCHEDULED, 10.0, 10.0),
    (states.RUNNING, 10.0, 10.0),
    (states.RETRYING, 30.0, 30.0),  # the next attempt is sent
    (states.RETRYING, 20.0, 30.0),  # before the one it repeats is at its end
    (states.QUEUED, None, 30.0),
    (states.RUNNING, None, 30.0),
    (states.RETRYING, 40.0, 40.0),
    (states.FAILED, 40.0, 40.0),
    (states.FAILED, 10.0, 40.0),  # a message of the first attempt has come again
]


def test_the_last_attempt_counts(url: str) -> None:
    engine = database.engine_for(url.removeprefix("celeriac+"))
    found = []
    with engine.begin() as connection:
        for number, (state, eta, _) in enumerate(WRITTEN):
            assert write_queries.write(connection, values(state, eta, number))
            found.append(connection.execute(sa.select(record.c.eta)).scalar_one())
    engine.dispose()
    assert found == [kept for _, _, kept in WRITTEN]


def test_the_last_attempt_counts_without_sqlalchemy(tmp_path: Any) -> None:
    url = sqlite.url_of(str(tmp_path / "celeriac.db"))
    database.engine_for(url).connect().close()  # which makes the tables
    found = []
    with sqlite.file_at(sqlite.path_of(url)).connection() as db:
        for number, (state, eta, _) in enumerate(WRITTEN):
            assert write_queries.write_embedded(db, values(state, eta, number))
            found.append(db.execute("SELECT eta FROM celeriac_record").fetchall()[0][0])
    assert found == [kept for _, _, kept in WRITTEN]


def values(state: str, eta: float | None, number: int) -> dict[str, Any]:
    return {"task_id": "one", "state": state, "eta": eta, "updated": float(number)}
