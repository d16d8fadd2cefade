"""The three databases that hold records, empty or as an older version left them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from flask_celeriac import database
from tests.records.conftest import DATABASES, database_url

FOLDER = Path(__file__).parent

#: A result of each kind in the words of version 2, and the state that version 3 has for it.
RESULTS = {
    "SUCCESS": "succeeded",
    "FAILURE": "failed",
    "RETRY": "retrying",
    "REVOKED": "revoked",
    "REJECTED": "dead",
    "IGNORED": "succeeded",
    "PENDING": "queued",
    "STARTED": "running",
    "PROGRESS": "running",
}


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: the engine's URL, without the result backend's prefix."""
    return database_url(request, request.param, tmp_path).removeprefix("celeriac+")


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    """An engine on it that makes no tables."""
    engine = database.unprepared(url)
    yield engine
    engine.dispose()


@pytest.fixture
def old(engine: sa.Engine) -> sa.Engine:
    """The same with the tables of version 2, and rows in them."""
    make_old(engine)
    return engine


def make_old(engine: sa.Engine) -> None:
    name = {"mysql": "mariadb"}.get(engine.dialect.name, engine.dialect.name)
    with engine.begin() as connection:
        for statement in (FOLDER / f"v2.{name}.sql").read_text().split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
        connection.execute(sa.text("INSERT INTO celeriac_schema VALUES (2)"))
        for number, state in enumerate(RESULTS):
            connection.execute(
                sa.text(
                    "INSERT INTO celeriac_record VALUES"
                    " (:id, :state, :result, 'trace', '[]', '{}', :finished, :updated)"
                ),
                {
                    "id": f"task {number}",
                    "state": state,
                    "result": "x" * 100_000 if number == 0 else str(number),
                    "finished": number if number % 2 else None,
                    "updated": 100.0 + number,
                },
            )
        connection.execute(sa.text("INSERT INTO celeriac_group VALUES ('group', '[]', 1.5)"))
        connection.execute(
            sa.text("INSERT INTO celeriac_chord_part VALUES ('group', 'one', 0, 'SUCCESS', '1')")
        )


def rows_of(engine: sa.Engine) -> list[tuple[object, ...]]:
    """What version 3 has of those results."""
    columns = (
        "task_id, state, status, result, traceback, children, details, created, finished, updated"
    )
    with engine.connect() as connection:
        found = connection.execute(
            sa.text(f"SELECT {columns} FROM celeriac_record ORDER BY updated")
        )
        return [tuple(row) for row in found]


def expected_rows() -> list[tuple[object, ...]]:
    return [
        (
            *(f"task {number}", state, status, "x" * 100_000 if number == 0 else str(number)),
            *("trace", "[]", "{}", float(number) if number % 2 else 100.0 + number),
            *(float(number) if number % 2 else None, 100.0 + number),
        )
        for number, (status, state) in enumerate(RESULTS.items())
    ]
