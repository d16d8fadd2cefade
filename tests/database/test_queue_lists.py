"""The embedded queue as a list: what is counted, and that no question reads all of a long queue."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from flask_celeriac import states
from flask_celeriac.broker import queries, task_queries
from flask_celeriac.broker.store import Store
from flask_celeriac.records.task_record import Filter

#: Tasks of each kind: as many in each queue.
MANY = 60
NOW = 1_000_000.0


@pytest.fixture
def db(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Ready, scheduled, retrying and running tasks in two queues, and messages of no task."""
    store = Store(str(tmp_path / "celeriac.db"), "normal")
    store.open()
    numbers = itertools.count()
    with store.file.transaction() as db:
        for _ in range(MANY):
            for queue in ("mail", "night"):
                queries.put(db, row(next(numbers), "claimed"))
                queries.put(db, row(next(numbers), queue, priority=3))
                queries.put(db, row(next(numbers), queue, due=NOW * 2))
                queries.put(db, row(next(numbers), queue, due=NOW * 3, retries=1))
            queries.put(db, row(next(numbers), "events", task=False))
        # Urgent ones come first, and are younger.
        queries.put(db, row(next(numbers), "mail", priority=9))
        queries.claim(db, "claimed", 2 * MANY, 77, 0.0)
        db.execute(
            "INSERT INTO process (id, pid, lock, lease, name) VALUES (0, 1, '', 0, 'one@host')"
        )
        db.execute("UPDATE message SET queue = iif(id % 8 < 4, 'mail', 'night') WHERE claim = 77")
    with store.file.connection() as connection:
        yield connection
    store.file.close()


def row(
    number: int,
    queue: str,
    *,
    due: float | None = None,
    retries: int = 0,
    priority: int = 0,
    task: bool = True,
) -> queries.Row:
    headers = {"retries": retries, "root_id": None}
    return queries.Row(
        queue, priority, f"task {number:05}" if task else None, "shop.one" if task else None,
        due, None, NOW + number, json.dumps({"headers": headers}), "[[], {}, {}]",
    )  # fmt: skip


class Plans:
    """The plans of the statements on a connection."""

    def __init__(self, db: apsw.Connection) -> None:
        self.db = db
        self.said: list[tuple[str, Any]] = []

    def __enter__(self) -> Plans:
        self.db.exec_trace = self._note
        return self

    def __exit__(self, *_: object) -> None:
        self.db.exec_trace = None

    def _note(self, _: Any, statement: str, bindings: Any) -> bool:
        self.said.append((statement, dict(bindings) if isinstance(bindings, dict) else bindings))
        return True

    def reads(self) -> list[str]:
        """How the table is read, line by line."""
        lines = [
            str(line[3])
            for statement, bindings in self.said
            for line in self.db.execute("EXPLAIN QUERY PLAN " + statement, bindings)
        ]
        return [line for line in lines if "message" in line]


def test_queues_are_counted_as_far_as_they_are_counted(db: apsw.Connection) -> None:
    with Plans(db) as plans:
        found = {queue.name: queue for queue in task_queries.queues(db, 1000)}
    assert sorted(found) == ["mail", "night"]
    assert found["mail"] == ("mail", MANY + 1, 2 * MANY, MANY, found["mail"].oldest)
    assert found["night"] == ("night", MANY, 2 * MANY, MANY, found["night"].oldest)
    # The urgent one is not the oldest.
    assert (found["mail"].oldest, found["night"].oldest) == (NOW + 1, NOW + 5)
    assert all(" INDEX " in line for line in plans.reads()), plans.reads()

    few = {queue.name: queue for queue in task_queries.queues(db, 10)}
    assert few["mail"].ready == few["night"].ready == 11
    assert sum(queue.waiting for queue in few.values()) == 11
    assert sum(queue.claimed for queue in few.values()) == 11


EITHER = [(), *((state,) for state in states.OPEN), (states.QUEUED, states.RUNNING), states.OPEN]
FILTERS = [
    Filter(states=tuple(chosen), queue=queue, **more)
    for chosen in EITHER
    for queue in (None, "mail", "none")
    for more in ({}, {"name": "shop.one"}, {"created_after": NOW + 100.0}, {"worker": "one@host"})
]

#: Tasks whose records name the worker: claimed by it, to be repeated, ready, and in no queue.
HAD = ["task 00000", "task 00003", "task 00001", "task 99999"]
#: How SQLite says that it does not read all of a table.
BOUNDED = (" INDEX ", "VIRTUAL", "INTEGER PRIMARY KEY")


def test_counts_and_lists_agree_and_are_bounded(
    db: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for chosen in FILTERS:
        with Plans(db) as plans:
            listed, reached = task_queries.list_messages(db, chosen, None, 1000, recorded=HAD)
            number, complete = task_queries.count_messages(db, chosen, 1000, recorded=HAD)
            capped, _ = task_queries.count_messages(db, chosen, 5, recorded=HAD)
        assert complete
        assert (len(listed), reached) == (number, None), chosen
        assert capped == min(number, 6), chosen
        assert [m.created for m in listed] == sorted((m.created for m in listed), reverse=True)
        reads = plans.reads()
        assert all(any(way in line for way in BOUNDED) for line in reads), (chosen, reads)
    # What a worker had, and nobody has now, is found along with what it has.
    theirs = Filter(worker="one@host", states=(states.RETRYING, states.RUNNING))
    found, _ = task_queries.list_messages(db, theirs, None, 1000, recorded=HAD)
    assert {message.task_id for message in found if message.claim is None} == {HAD[1]}
    assert sum(message.claim is not None for message in found) == 2 * MANY

    # Where nothing is chosen, a search stops after so many.
    monkeypatch.setattr(task_queries, "SCAN", 50)
    for chosen in (Filter(name="none"), Filter(name="shop.one", created_after=NOW)):
        number, complete = task_queries.count_messages(db, chosen, 1000)
        assert (number <= 50, complete) == (True, False)
    # Nothing is left out where a search goes on, also among tasks of one moment.
    db.execute("UPDATE message SET created = 7.0 WHERE queue = 'night'")
    for chosen, queue in (
        (Filter(queue="night"), "night"),
        (Filter(states=states.OPEN, queue="mail"), "mail"),
        (Filter(), "%"),
    ):
        sql = "SELECT task_id FROM message WHERE task_id IS NOT NULL AND queue LIKE ?"
        expected = {row[0] for row in db.execute(sql, (queue,))}
        assert all_pages(db, chosen) == expected
    # What workers have is found, though it is the oldest.
    running, _ = task_queries.list_messages(db, Filter(states=(states.RUNNING,)), None, 20)
    assert len(running) == 20
    second = (running[-1].created, running[-1].task_id)
    more, _ = task_queries.list_messages(db, Filter(states=(states.RUNNING,)), second, 20)
    assert len({m.id for m in (*running, *more)}) == 40


def all_pages(db: apsw.Connection, chosen: Filter) -> set[str]:
    found: set[str] = set()
    after: tuple[float, str] | None = None
    while True:
        page, reached = task_queries.list_messages(db, chosen, after, 7)
        assert not found & {message.task_id for message in page}
        found |= {message.task_id for message in page}
        if reached is None and len(page) < 7:
            return found
        after = reached if len(page) < 7 else (page[-1].created, page[-1].task_id)
