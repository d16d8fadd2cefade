"""The SQL that reads the queue as a list of tasks. No function commits."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import states
from .filter_queries import (
    CLAIMED,
    IN_STATE,
    LATER,
    READY,
    REPEATED,
    WORKER,
    conditions_of,
    parts_of,
    source_of,
)

if TYPE_CHECKING:
    import apsw

    from ..records.task_record import Filter

    Shows = Callable[["Message"], bool] | None

#: Rows that conditions without an index are tried on.
SCAN = 5_000

#: Bytes of a body that are read: a page of a list may have hundreds of them.
LONGEST_BODY = 65_536
_COLUMNS = (
    "id, task_id, task, queue, priority, due, claim, claims, taken,"
    f" {WORKER} AS worker, created, envelope,"
    f" CASE WHEN length(body) <= {LONGEST_BODY} THEN body END AS body"
)
#: More than any priority.
_ABOVE_ALL = 1 << 31


class Message(NamedTuple):
    """A task in the queue, in the order of the statement's columns."""

    id: int
    task_id: str
    task: str | None
    queue: str
    priority: int
    due: float | None
    claim: int | None
    claims: int
    taken: float | None
    worker: str | None
    created: float
    envelope: str
    body: str | bytes | None

    @property
    def headers(self) -> dict[str, Any]:
        """Its headers, each time read anew."""
        return json.loads(self.envelope)["headers"]  # type: ignore[no-any-return]

    @property
    def text(self) -> str | None:
        """Its body, where that is a text."""
        return self.body if isinstance(self.body, str) else None


class Queue(NamedTuple):
    """What is in a queue.

    :param ready: messages that could be taken now
    :param waiting: messages whose time has not come
    :param claimed: messages that workers have
    :param oldest: when the first of the ready ones was sent, in seconds since the epoch
    """

    name: str
    ready: int
    waiting: int
    claimed: int
    oldest: float | None


def find_message(db: apsw.Connection, task_id: str) -> Message | None:
    """The newest message of a task."""
    sql = f"SELECT {_COLUMNS} FROM message WHERE task_id = ? ORDER BY id DESC LIMIT 1"
    row = db.execute(sql, (task_id,)).fetchone()
    return None if row is None else Message._make(row)


def find_messages(db: apsw.Connection, ids: Iterable[str]) -> set[str]:
    """Those of some tasks that are in the queue."""
    wanted = list(ids)
    marks = ", ".join("?" * len(wanted))
    rows = db.execute(f"SELECT task_id FROM message WHERE task_id IN ({marks})", wanted)
    return {row[0] for row in rows}


def states_of(
    db: apsw.Connection, ids: Iterable[str], now: float
) -> dict[str, tuple[str, int | None]]:
    """The states of those of some tasks that are in the queue, and whose they are: their claims.

    :param now: seconds since the epoch.
    """
    wanted = list(ids)
    marks = ", ".join("?" * len(wanted))
    # The newest message of a task comes last, and counts.
    rows = db.execute(
        f"SELECT task_id, CASE WHEN {IN_STATE[states.RUNNING]} THEN '{states.RUNNING}'"
        f" WHEN due IS NULL OR due <= ? THEN '{states.QUEUED}'"
        f" WHEN {REPEATED} THEN '{states.RETRYING}' ELSE '{states.SCHEDULED}' END,"
        f" claim FROM message WHERE task_id IN ({marks}) ORDER BY id",
        (now, *wanted),
    )
    return {str(task_id): (str(state), claim) for task_id, state, claim in rows}


def list_messages(
    db: apsw.Connection,
    chosen: Filter,
    after: tuple[float, str] | None,
    limit: int,
    shows: Shows = None,
    *,
    recorded: Collection[str] = (),
) -> tuple[list[Message], tuple[float, str] | None]:
    """The newest tasks in the queue that are chosen, up to ``limit``.

    :param after: go on after the task of this time and this id.
    :param shows: what is asked of each that was found, too; None for nothing.
    :param recorded: the tasks whose records name the worker that is chosen.
    :return: them, and where the search stopped before it had found enough, else None.
    """
    place, bound, rest = conditions_of(chosen, recorded)
    if after is not None:
        place += ["created <= :at", "(created < :at OR task_id < :id)"]
        bound |= {"at": after[0], "id": after[1]}
    bound |= {"scan": SCAN if rest else limit + 1, "limit": limit}
    inner = (
        f"SELECT {_COLUMNS} FROM {source_of(chosen)} WHERE {' AND '.join(place)}"
        " ORDER BY created DESC, task_id DESC LIMIT :scan"
    )
    where = f" WHERE {' AND '.join(rest)}" if rest else ""
    if shows is not None:
        found = _shown(db, f"({inner}){where}", bound, limit, shows)
    else:
        sql = f"SELECT * FROM ({inner}){where} ORDER BY created DESC, task_id DESC LIMIT :limit"
        found = [Message._make(row) for row in db.execute(sql, bound)]
    reached: Any = None
    if len(found) < limit:
        last = f"SELECT created, task_id FROM ({inner}) LIMIT 1 OFFSET :scan - 1"
        reached = db.execute(last, _used(bound, last)).fetchone()
    return found, reached


def _shown(
    db: apsw.Connection, source: str, bound: dict[str, Any], limit: int, shows: Callable[..., bool]
) -> list[Message]:
    """The newest of some tasks that are shown so. Each is read alone: bodies may be long."""
    sql = f"SELECT id FROM {source} ORDER BY created DESC, task_id DESC"
    ids = db.execute(sql, _used(bound, sql)).fetchall()
    found: list[Message] = []
    for number in ids:
        row = db.execute(f"SELECT {_COLUMNS} FROM message WHERE id = ?", number).fetchone()
        if row is not None and shows(message := Message._make(row)):
            found.append(message)
            if len(found) == limit:
                break
    return found


def count_messages(
    db: apsw.Connection,
    chosen: Filter,
    cap: int,
    shows: Shows = None,
    *,
    recorded: Collection[str] = (),
) -> tuple[int, bool]:
    """How many tasks in the queue are chosen, counting no further than one beyond ``cap``.

    Where conditions have no index, of the newest :data:`SCAN` tasks.

    :param shows: as :func:`list_messages` takes it, and ``recorded``.
    :return: the number, and whether all tasks were looked at, as far as it was counted.
    """
    if replace(chosen, states=(), queue=None) == type(chosen)():
        return _count_states(db, chosen, cap)
    place, bound, rest = conditions_of(chosen, recorded)
    inner = f"FROM {source_of(chosen)} WHERE {' AND '.join(place)}"
    if rest:
        inner += " ORDER BY created DESC LIMIT :scan"
    bound |= {"scan": SCAN, "cap": cap + 1}
    number, complete = _count(db, inner, rest, bound)
    if shows is not None:
        source = f"(SELECT * {inner}) WHERE {' AND '.join(rest)}"
        number = len(_shown(db, source, bound, cap + 1, shows))
    return number, complete


def _count_states(db: apsw.Connection, chosen: Filter, cap: int) -> tuple[int, bool]:
    """Those of some states, and of a queue, along the index of each state."""
    number, all_of_them = 0, True
    for index, rest in parts_of(chosen):
        left = cap + 1 - number
        inner = f"FROM message WHERE {index}" + (" LIMIT :scan" if rest else "")
        bound = {"scan": max(SCAN, left), "cap": left, "queue": chosen.queue}
        more, complete = _count(db, inner, rest, bound)
        number, all_of_them = number + more, all_of_them and complete
        if number > cap:
            break
    return number, all_of_them


def _count(
    db: apsw.Connection, inner: str, rest: list[str], bound: dict[str, Any]
) -> tuple[int, bool]:
    """Count up to ``cap`` rows, and say whether there were fewer than ``scan`` to be tried."""
    where = f" WHERE {' AND '.join(rest)}" if rest else ""
    source = f"(SELECT * {inner}){where}" if rest else inner.removeprefix("FROM ")
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {source} LIMIT :cap)"
    found: Any = db.execute(sql, _used(bound, sql)).fetchall()
    if not rest:
        return int(found[0][0]), True
    last = f"SELECT 1 FROM (SELECT 1 {inner}) LIMIT 1 OFFSET :scan - 1"
    return int(found[0][0]), db.execute(last, _used(bound, last)).fetchone() is None


def _used(bound: dict[str, Any], sql: str) -> dict[str, Any]:
    return {name: value for name, value in bound.items() if f":{name}" in sql}


def queues(db: apsw.Connection, cap: int) -> list[Queue]:
    """Every queue that holds tasks, its figures no further than one beyond ``cap``."""
    found: dict[str, Queue] = {}
    for name in _ready_queues(db):
        queue = _ready_in(db, name, cap)
        if queue is not None:
            found[name] = queue
    for figure, condition in (("claimed", CLAIMED), ("waiting", LATER)):
        for name, number in _counted_by_queue(db, condition, cap):
            known = found.get(name, Queue(name, 0, 0, 0, None))
            found[name] = Queue._make({**known._asdict(), figure: number}.values())
    return list(found.values())


def _ready_queues(db: apsw.Connection) -> list[str]:
    """The queues with ready messages, one look into the index for each."""
    rows = db.execute(
        f"WITH RECURSIVE found(name) AS (SELECT min(queue) FROM message WHERE {READY}"
        f" UNION ALL SELECT (SELECT min(queue) FROM message WHERE {READY} AND queue > name)"
        " FROM found WHERE name IS NOT NULL)"
        " SELECT name FROM found WHERE name IS NOT NULL"
    )
    return [str(row[0]) for row in rows]


def _ready_in(db: apsw.Connection, name: str, cap: int) -> Queue | None:
    """The ready tasks of a queue, None where its messages are of no tasks, as events are."""
    # The oldest one is among the first of each priority.
    first = (
        f"SELECT priority, created, task_id FROM message WHERE {READY} AND queue = ?"
        " AND priority < ? ORDER BY priority DESC, id LIMIT 1"
    )
    oldest, row = None, db.execute(first, (name, _ABOVE_ALL)).fetchone()
    while row is not None:
        priority, created, task_id = row
        if task_id is not None:
            oldest = created if oldest is None else min(oldest, created)
        row = db.execute(first, (name, priority)).fetchone()
    if oldest is None:
        return None
    # The index knows that much by itself; it does not know whether all of them are tasks.
    sql = f"SELECT count(*) FROM (SELECT 1 FROM message WHERE {READY} AND queue = ? LIMIT ?)"
    number: Any = db.execute(sql, (name, cap + 1)).fetchall()[0][0]
    return Queue(name, number, 0, 0, oldest)


def _counted_by_queue(db: apsw.Connection, condition: str, cap: int) -> list[tuple[str, int]]:
    """How many tasks each queue has of those of a kind, as far as these are looked at."""
    rows = db.execute(
        "SELECT queue, count(task_id) FROM"
        f" (SELECT queue, task_id FROM message WHERE {condition} LIMIT ?)"
        " GROUP BY queue HAVING count(task_id) > 0",
        (cap + 1,),
    )
    return [(str(name), int(number)) for name, number in rows]


def ahead_of(db: apsw.Connection, message: Message, cap: int) -> int:
    """How many ready messages of its queue a message waits behind, ``cap`` at most."""
    sql = (
        "SELECT count(*) FROM (SELECT 1 FROM message WHERE queue = ?1 AND claim IS NULL"
        " AND due IS NULL AND (priority > ?2 OR (priority = ?2 AND id < ?3)) LIMIT ?4)"
    )
    values = (message.queue, message.priority, message.id, cap)
    found: Any = db.execute(sql, values).fetchall()
    return int(found[0][0])


def remove(db: apsw.Connection, task_id: str) -> int:
    """Take a task that nobody has begun out of the queue.

    :return: how many messages of it there were.
    """
    db.execute("DELETE FROM message WHERE task_id = ? AND claim IS NULL", (task_id,))
    return db.changes()


def mark(db: apsw.Connection, task_id: str, header: str) -> None:
    """Add a header to the messages of a task, for whoever is given them next."""
    db.execute(
        "UPDATE message SET envelope = json_patch(envelope, ?)"
        " WHERE task_id = ? AND json_valid(envelope)",
        (json.dumps({"headers": {header: 1}}), task_id),
    )
