"""Slots that are recorded: whose they are when a run does not give them back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from flask_celeriac.database import engine_for
from flask_celeriac.records import limit_queries, write_queries
from flask_celeriac.records.limit_queries import GRACE, LEASE, Run

NOW = 1000.0
DRIVERS = {"postgres_url": "postgresql+psycopg", "mariadb_url": "mysql+pymysql"}


@pytest.fixture(params=DRIVERS)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    url = f"{DRIVERS[request.param]}:{request.getfixturevalue(request.param).partition(':')[2]}"
    engine = engine_for(url)
    yield engine
    engine.dispose()


def take(
    engine: Engine,
    task_id: str,
    now: float,
    mark: str = "a" * 32,
    *,
    at_once: int = 1,
    message: str = "",
) -> int:
    with engine.begin() as connection:
        run = Run(task_id, f"{mark}:{now}:{message}")
        return limit_queries.take_slot(connection, "one", at_once, run, now, ticket=0).number


def record(engine: Engine, task_id: str, state: str, now: float) -> None:
    with engine.begin() as connection:
        write_queries.write(connection, {"task_id": task_id, "state": state, "updated": now})


def hear(engine: Engine, mark: str, now: float) -> None:
    with engine.begin() as connection:
        limit_queries.say_alive(connection, mark, now)


def test_until_its_record_says_so(engine: Engine) -> None:
    assert take(engine, "first", NOW) == 1
    record(engine, "first", "queued", NOW)
    assert take(engine, "second", NOW + GRACE - 1) == 0  # it is about to be recorded
    record(engine, "first", "running", NOW)
    assert take(engine, "second", NOW + 3600) == 0
    record(engine, "first", "failed", NOW)
    assert take(engine, "second", NOW + 3600) == 1


@pytest.mark.parametrize("state", ["queued", "scheduled", "retrying"])
def test_while_its_begin_could_not_be_recorded(engine: Engine, state: str) -> None:
    record(engine, "first", state, NOW - 1)
    assert take(engine, "first", NOW) == 1
    assert take(engine, "second", NOW + 3600) == 0
    record(engine, "first", state, NOW + 1)  # it was given back, or has sent its next attempt
    assert take(engine, "second", NOW + 3600) == 1


def test_until_its_worker_is_silent(engine: Engine) -> None:
    mark = "b" * 32
    hear(engine, mark, NOW)
    assert take(engine, "first", NOW, mark) == 1
    record(engine, "first", "running", NOW)
    assert take(engine, "second", NOW + LEASE - 1) == 0
    hear(engine, mark, NOW + LEASE)
    assert take(engine, "second", NOW + LEASE + 1) == 0
    assert take(engine, "second", NOW + 2 * LEASE + 1) == 1


def test_a_run_has_what_the_run_before_it_had(engine: Engine) -> None:
    """The message of a run that was killed comes again, and is not in its own way."""
    assert take(engine, "first", NOW) == 1
    record(engine, "first", "running", NOW)
    assert take(engine, "first", NOW + 1) == 1


def test_another_message_of_a_task_waits_for_the_first(engine: Engine) -> None:
    """Also where there is room; where the run of the first one is over, it asks the record."""
    assert take(engine, "first", NOW, at_once=2) == 1
    record(engine, "first", "running", NOW)
    hear(engine, "a" * 32, NOW)
    assert take(engine, "first", NOW + LEASE, at_once=2, message="second") == 0
    assert take(engine, "second", NOW + LEASE, at_once=2) == 2
    assert take(engine, "first", NOW + LEASE, at_once=2) == 1  # the first message comes again
    record(engine, "first", "failed", NOW + LEASE)
    assert take(engine, "first", NOW + 2 * LEASE, at_once=2, message="second") == 1


@pytest.mark.parametrize("heard", [True, False])
def test_another_message_does_not_wait_for_a_silent_worker(engine: Engine, heard: bool) -> None:
    assert take(engine, "first", NOW) == 1
    record(engine, "first", "running", NOW)
    if heard:
        hear(engine, "a" * 32, NOW)
    assert take(engine, "first", NOW + LEASE - 1, message="second") == 0
    assert take(engine, "first", NOW + LEASE + 1, message="second") == 1


def test_what_is_over_is_forgotten(engine: Engine) -> None:
    assert take(engine, "first", NOW) == 1
    assert take(engine, "second", NOW) == 0
    record(engine, "second", "queued", NOW)
    with engine.begin() as connection:
        assert limit_queries.forget_slots(connection, NOW, 100) == 0
        # The slot, whose task nobody knows, and the row that is there to be locked.
        assert limit_queries.forget_slots(connection, NOW + 1, 100) == 2
        assert limit_queries.in_line(connection, "second") == "one"
