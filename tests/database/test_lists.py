"""Lists of records: what they find, and along which index they find it, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from flask_celeriac import database, states
from flask_celeriac.records import task_queries
from flask_celeriac.records.task_queries import Place
from flask_celeriac.records.task_record import Filter
from flask_celeriac.tables import record

#: What is asked for, and the indexes that may be used for it.
SERVED = {
    "everything": (Filter(), {"celeriac_record_created"}),
    "time": (
        Filter(created_after=10.0, created_before=20.0),
        {"celeriac_record_created"},
    ),
    "state": (Filter(states=(states.FAILED,)), {"celeriac_record_state"}),
    "states": (Filter(states=(states.FAILED, states.DEAD)), {"celeriac_record_state"}),
    "name": (Filter(name="shop.one"), {"celeriac_record_name"}),
    "name and state": (
        Filter(name="shop.one", states=(states.FAILED,)),
        {"celeriac_record_name"},
    ),
    "error": (Filter(error="1" * 16), {"celeriac_record_error"}),
    "workflow": (
        Filter(root="root"),
        # The unique index of the first task's id has a name of the database's own.
        {
            "celeriac_record_root",
            "task_id",
            "celeriac_record_task_id_key",
            "sqlite_autoindex_celeriac_record_1",
        },
    ),
    "queue": (Filter(queue="mails"), {"celeriac_record_created"}),
    "label": (Filter(label="nightly"), {"celeriac_record_created"}),
}
PLACES = {"first page": None, "second page": Place(1500.0, "m")}


@pytest.fixture
def filled(url: str) -> Iterator[sa.Engine]:
    """As many records that an index is worth it, and the statistics that say so."""
    engine = database.engine_for(url)
    rows = [
        {
            "task_id": f"task {number:05}",
            "state": states.FAILED if number % 10 == 0 else states.SUCCEEDED,
            "name": "shop.one" if number % 3 else "shop.two",
            "queue": "mails" if number % 2 else "celery",
            "labels": '["nightly"]' if number % 100 == 1 else None,
            "arguments": '[["%s"], {}, {}]' % ("x" * 100),
            "error_fingerprint": "1" * 16 if number % 10 == 0 else None,
            "root_id": "root" if number % 500 == 0 else None,
            # Pairs are of the same moment.
            "created": float(number // 2),
            "updated": float(number),
        }
        for number in range(4000)
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(record), rows)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("VACUUM ANALYZE celeriac_record")
        elif engine.dialect.name == "mysql":
            connection.exec_driver_sql("ANALYZE TABLE celeriac_record")
    yield engine
    engine.dispose()


class Plans:
    """The plans of the statements on a connection: the indexes they use."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.said: list[tuple[str, Any]] = []

    def __enter__(self) -> Plans:
        sa.event.listen(self.engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sa.event.remove(self.engine, "before_cursor_execute", self._note)

    def _note(self, _: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.lstrip().startswith("SELECT"):
            self.said.append((statement, parameters))

    def indexes(self) -> list[set[str]]:
        """Of each statement, and ``{"a scan"}`` where it reads the table from end to end."""
        with self.engine.connect() as connection:
            return [self._of(connection, *said) for said in self.said]

    def _of(self, connection: sa.Connection, statement: str, parameters: Any) -> set[str]:
        name = self.engine.dialect.name
        verb = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN ", "mysql": "EXPLAIN "}[
            name
        ]
        rows = connection.exec_driver_sql(verb + statement, parameters).mappings().all()
        if name == "mysql":
            of_record = [row for row in rows if row["table"] == "celeriac_record"]
            # None where the unique index says at once that there is no such row.
            return {row["key"] or f"a scan: {row['Extra']}" for row in of_record}
        lines = [str(row["detail" if name == "sqlite" else "QUERY PLAN"]) for row in rows]
        found = set()
        for line in lines:
            words = line.replace("->", " ").split()
            if name == "sqlite" and words[0] in ("SCAN", "SEARCH") and "record" in words[1]:
                found.add(
                    words[words.index("INDEX") + 1] if "INDEX" in words else f"a scan: {line}"
                )
            elif "Index" in words and " on " in line:
                found.add(words[words.index("on") - 1])
            elif "Seq" in words:
                found.add(f"a scan: {line}")
        return found


def test_lists_and_counts_use_the_index_that_is_meant_for_them(
    filled: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL may take another index, as it knows how many rows lie where, but no scan."""
    monkeypatch.setattr(task_queries, "SCAN", 100)
    monkeypatch.setattr(task_queries, "COUNT_SCAN", 200)
    free = filled.dialect.name == "postgresql"
    wrong = []
    for name, (chosen, allowed) in SERVED.items():
        for place, after in PLACES.items():
            with Plans(filled) as plans, filled.connect() as connection:
                task_queries.list_tasks(connection, chosen, after, 50)
                if after is None:
                    task_queries.count_tasks(connection, chosen, 100)
            assert plans.said
            for (statement, _), used in zip(plans.said, plans.indexes(), strict=True):
                scans = {each for each in used if each.startswith("a scan")}
                if scans or not (free or used <= allowed):
                    wrong.append((name, place, used, " ".join(statement.split())[-200:]))
    assert wrong == []


def test_the_oldest_that_wait_are_found_along_the_index_of_the_states(filled: sa.Engine) -> None:
    with filled.begin() as connection:
        connection.execute(
            sa.update(record).where(record.c.created >= 1900.0).values(state=states.QUEUED)
        )
    with Plans(filled) as plans, filled.connect() as connection:
        found = task_queries.oldest_waiting(connection)
    assert found == {"celery": 1900.0, "mails": 1900.0}
    assert plans.indexes() == [{"celeriac_record_state"}]


def everything(engine: sa.Engine, chosen: Filter, limit: int) -> list[str]:
    """All pages of a list."""
    found: list[str] = []
    after: Place | None = None
    with engine.connect() as connection:
        while True:
            page = task_queries.list_tasks(connection, chosen, after, limit)
            found += [row.task_id for row in page.found]
            if page.reached is None and len(page.found) < limit:
                return found
            last = page.found[-1] if page.found else None
            after = page.reached or Place(last.created, last.task_id)  # type: ignore[union-attr]


def test_pages_are_whole_and_in_order(filled: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the search for a page ends before it is full."""
    monkeypatch.setattr(task_queries, "SCAN", 100)
    of = {number: f"task {number:05}" for number in range(3999, 3599, -1)}
    newer = {"created_after": 1800.0}
    expected = {
        Filter(**newer): list(of.values()),
        Filter(states=(states.FAILED,), **newer): [of[n] for n in of if n % 10 == 0],
        Filter(states=states.ENDED, **newer): list(of.values()),
        Filter(queue="mails", **newer): [of[n] for n in of if n % 2],
        Filter(label="nightly", **newer): [of[n] for n in of if n % 100 == 1],
        Filter(states=states.ENDED, label="nightly", **newer): [of[n] for n in of if n % 100 == 1],
        Filter(root="root", **newer): [of[n] for n in of if n % 500 == 0],
        Filter(root="root", name="shop.one", **newer): [
            of[n] for n in of if n % 500 == 0 and n % 3
        ],
    }
    for chosen, ids in expected.items():
        assert everything(filled, chosen, 30) == ids, chosen


def test_tasks_of_one_moment_are_all_listed(url: str) -> None:
    engine = database.engine_for(url)
    rows = [
        {"task_id": f"{number:03}", "state": states.QUEUED, "created": 1.0, "updated": 1.0}
        for number in range(120)
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(record), rows)
    assert everything(engine, Filter(), 50) == [f"{number:03}" for number in range(119, -1, -1)]
    engine.dispose()


def test_counts_are_capped(filled: sa.Engine) -> None:
    with filled.connect() as connection:
        for chosen, number in (
            (Filter(), 101),
            (Filter(states=states.ENDED), 101),
            (Filter(states=(states.DEAD,)), 0),
            (Filter(root="root"), 8),
            (Filter(label="nightly"), 40),
            (Filter(name="shop.two", states=(states.FAILED,)), 101),
        ):
            assert task_queries.count_tasks(connection, chosen, 100) == (number, True), chosen
