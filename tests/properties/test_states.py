"""Legal transitions only: one table, the statements made of it, and the drawing of it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_celeriac import database, sqlite, states
from flask_celeriac.records import write_queries
from flask_celeriac.tables import record
from tests.records.conftest import DATABASES, database_url
from tests.support.markdown import ROOT

ANY = st.sampled_from(states.STATES)
#: An arrow between two states; ``[*]`` is the beginning and the end.
ARROW = re.compile(r"^ +(\w+|\[\*\]) --> (\w+|\[\*\])", re.MULTILINE)


@pytest.fixture(params=DATABASES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:

    url = database_url(request, request.param, tmp_path).removeprefix("celeriac+")
    engine = database.engine_for(url)
    yield engine
    engine.dispose()


def values(task_id: str, state: str) -> dict[str, Any]:
    return {"task_id": task_id, "state": state, "updated": time.time()}


def state_of(connection: sa.Connection, task_id: str) -> str:
    mine = sa.select(record.c.state).where(record.c.task_id == task_id)
    return str(connection.execute(mine).scalar_one())


def test_each_state_follows_those_that_it_may_follow(engine: sa.Engine) -> None:
    """Through both doors to the embedded file."""
    wrong = []
    for before in states.STATES:
        for after in states.STATES:
            for write in writers(engine):
                with engine.begin() as connection:
                    connection.execute(sa.delete(record))
                    connection.execute(
                        sa.insert(record).values(created=1.0, **values("one", before))
                    )
                written = write(values("one", after))
                with engine.connect() as connection:
                    found = state_of(connection, "one")
                legal = after in states.TRANSITIONS[before]
                if (written, found) != (legal, after if legal else before):
                    wrong.append((before, after, written, found))
    assert wrong == []


def writers(engine: sa.Engine) -> Iterator[Any]:
    def through_sqlalchemy(given: dict[str, Any]) -> bool:
        with engine.begin() as connection:
            return write_queries.write(connection, given)

    def through_apsw(given: dict[str, Any]) -> bool:
        with engine.connect() as connection:
            path = connection.exec_driver_sql("PRAGMA database_list").all()[0][2]
        with sqlite.file_at(path).connection() as db:
            return write_queries.write_embedded(db, given)

    yield through_sqlalchemy
    if engine.dialect.name == "sqlite":
        yield through_apsw


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(written=st.lists(ANY, min_size=1, max_size=12))
def test_whatever_is_written_a_task_goes_only_where_it_may(
    engine: sa.Engine, written: list[str]
) -> None:
    with engine.connect() as connection:
        expected = None
        for state in written:
            legal = expected is None or state in states.TRANSITIONS[expected]
            assert write_queries.write(connection, values("two", state)) == legal
            expected = state if legal else expected
            assert state_of(connection, "two") == expected
        connection.rollback()


def test_the_end_is_the_end() -> None:
    for state in set(states.ENDED) - {states.FAILED}:
        assert states.TRANSITIONS[state] == ()
    assert set(states.ENDED) | set(states.OPEN) == set(states.STATES) == set(states.TRANSITIONS)
    for state in states.OPEN:
        assert set(states.ENDED) <= set(states.TRANSITIONS[state])


def test_the_drawing_shows_what_the_table_allows() -> None:
    """Every arrow is legal, and all that is legal is a way along arrows, with steps left out."""
    text = (Path(ROOT) / "docs" / "architecture.md").read_text()
    (drawing,) = re.findall(r"```mermaid\n(stateDiagram-v2\n.*?)```", text, re.DOTALL)
    arrows = set(ARROW.findall(drawing))
    assert {name for arrow in arrows for name in arrow} - {"[*]"} == set(states.STATES)
    inner = {(before, after) for before, after in arrows if "[*]" not in (before, after)}
    assert [arrow for arrow in inner if arrow[1] not in states.TRANSITIONS[arrow[0]]] == []
    for before, allowed in states.TRANSITIONS.items():
        reached = {before}
        while more := {after for b, after in inner if b in reached} - reached:
            reached |= more
        assert set(allowed) <= reached, before
    assert {before for before, after in arrows if after == "[*]"} == set(states.ENDED)
