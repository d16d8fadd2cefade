"""The broker's SQL. Every function takes the connection first and never commits.

A message is a row. It is *ready* while ``claim`` and ``due`` are null, *waiting* while ``due``
is set, and *claimed* while ``claim`` is set; acknowledging deletes it. A claim is a number that
is given out once: the owner's number in the upper 24 bits, a count in the lower 40. Who acks or
releases must name it, so a claim that was taken away can do nothing any more. An odd one says that
its message was begun at once: the death of its owner cut off a run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import apsw

#: How many of a claim's bits are the count; its owner's number is above them.
CLAIM_BITS = 40
#: Added to a claim whose message is begun at once.
AT_ONCE = 1
#: Notes who had a claimed message, and since when, as its run was cut off.
CUT_OFF = (
    f"cut_worker = (SELECT name FROM process WHERE id = claim >> {CLAIM_BITS}), cut_taken = taken"
)
_NEXT = """
    SELECT id FROM message
    WHERE queue = ?1 AND claim IS NULL AND due IS NULL
    ORDER BY priority DESC, id LIMIT ?2
"""
_CLAIM = f"""
    UPDATE message SET claim = ?3, claims = claims + 1, taken = ?4 WHERE id IN ({_NEXT})
    RETURNING priority, id, claims, task_id, envelope, body
"""
_TAKE = f"""
    DELETE FROM message WHERE id IN ({_NEXT})
    RETURNING priority, id, claims, task_id, envelope, body
"""
_WAITING = """
    SELECT priority, id, claims, task_id, envelope, body FROM message
    WHERE due IS NOT NULL AND queue IN (SELECT value FROM json_each(?1))
    AND (?2 IS NULL OR task_id IN (SELECT value FROM json_each(?2)))
    ORDER BY due, id LIMIT ?3
"""
_PUT = """
    INSERT INTO message (queue, priority, task_id, task, due, expires, created, envelope, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PUT_ONLY = """
    INSERT INTO message (queue, priority, task_id, task, due, expires, created, envelope, body)
    SELECT ?, ?, ?3, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM message WHERE task_id = ?3)
"""


class Row(NamedTuple):
    """A message about to be put, in the order of the statement's parameters."""

    queue: str
    priority: int
    task_id: str | None
    task: str | None
    due: float | None
    expires: float | None
    created: float
    envelope: str
    body: str | bytes | None


class Claimed(NamedTuple):
    """A message as a consumer gets it."""

    priority: int
    id: int
    claims: int
    task_id: str | None
    envelope: str
    body: str | bytes | None


class Process(NamedTuple):
    """A process that claims messages, and what tells whether it is alive."""

    id: int
    pid: int
    lock: str
    lease: float


def _one(db: apsw.Connection, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
    return db.execute(sql, parameters).fetchone()


def _all(db: apsw.Connection, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
    return db.execute(sql, parameters).fetchall()


class OnlyRow(Row):
    """A message that is put only if its task is in no queue, and does not run."""

    __slots__ = ()


def put(db: apsw.Connection, row: Row) -> None:
    """Add a message."""
    db.execute(_PUT_ONLY if type(row) is OnlyRow else _PUT, row)


def put_many(db: apsw.Connection, rows: Iterable[Row]) -> None:
    """Add messages."""
    for kind, some in groupby(rows, type):
        db.executemany(_PUT_ONLY if kind is OnlyRow else _PUT, some)


def claim(db: apsw.Connection, queue: str, limit: int, token: int, now: float) -> list[Claimed]:
    """Claim up to ``limit`` ready messages, the most urgent and then the oldest first.

    :param now: seconds since the epoch.
    """
    return _in_order(_all(db, _CLAIM, (queue, limit, token, now)))


def take(db: apsw.Connection, queue: str, limit: int) -> list[Claimed]:
    """Remove up to ``limit`` ready messages, for consumers that do not acknowledge."""
    return _in_order(_all(db, _TAKE, (queue, limit)))


def _in_order(rows: list[Any]) -> list[Claimed]:
    # RETURNING promises no order. priority and id are numbers; envelopes are never compared.
    rows.sort(key=lambda row: (-row[0], row[1]))
    return [Claimed._make(row) for row in rows]


def ack(db: apsw.Connection, claims: Iterable[tuple[int, int]]) -> None:
    """Delete claimed messages, given as (id, claim); stale claims delete nothing."""
    db.executemany("DELETE FROM message WHERE id = ? AND claim = ?", claims)


def release(db: apsw.Connection, claims: Iterable[tuple[int, int]]) -> None:
    """Make claimed messages ready again, in their old place; stale claims change nothing."""
    db.executemany("UPDATE message SET claim = NULL WHERE id = ? AND claim = ?", claims)


def give_back(db: apsw.Connection, claims: Iterable[tuple[int, int]]) -> None:
    """:func:`release` messages that nobody has seen: as if they had not been claimed."""
    db.executemany(
        "UPDATE message SET claim = NULL, claims = claims - 1 WHERE id = ? AND claim = ?", claims
    )


def release_owner(db: apsw.Connection, owner: int, *, died: bool = False) -> int:
    """Make every message a process claimed ready again.

    :param died: count the runs that were cut off, and note the last one
    :return: how many there were.
    """
    low = owner << CLAIM_BITS
    high = low + (1 << CLAIM_BITS)
    noted = f", starts = max(starts, claim & 1), {CUT_OFF}" if died else ""
    db.execute(
        f"UPDATE message SET claim = NULL{noted} WHERE claim >= ? AND claim < ?", (low, high)
    )
    return db.changes()


def release_overdue(db: apsw.Connection, owner: int, now: float) -> int:
    """:func:`release_owner`, if the process has not renewed its lease meanwhile.

    :param now: on the machine's uptime clock.
    """
    overdue = _one(db, "SELECT 1 FROM process WHERE id = ? AND lease < ?", (owner, now))
    return release_owner(db, owner) if overdue else 0


def release_ownerless(db: apsw.Connection) -> int:
    """:func:`release_owner`, of processes that nobody knows any more, as they were taken for dead.

    :return: how many there were.
    """
    db.execute(
        f"UPDATE message SET claim = NULL, starts = max(starts, claim & 1), {CUT_OFF}"
        f" WHERE claim IS NOT NULL AND claim >> {CLAIM_BITS} NOT IN (SELECT id FROM process)"
    )
    return db.changes()


def claim_token(owner: int, count: int) -> int:
    """The number of a claim, given out once, as the one that follows it: plus :data:`AT_ONCE`."""
    return (owner << CLAIM_BITS) + (count << 1)


def tag_of(message: int, claim: int) -> str:
    """The delivery tag of a claim."""
    return f"{message}.{claim}"


def claim_of(tag: str) -> tuple[int, int]:
    """The message and the claim that a delivery tag names."""
    message, _, number = tag.partition(".")
    return int(message), int(number)


def holds(db: apsw.Connection, message: int, claim: int) -> bool:
    """Whether a claim has not been taken away."""
    found = _one(db, "SELECT 1 FROM message WHERE id = ? AND claim = ?", (message, claim))
    return found is not None


def promote(db: apsw.Connection, now: float) -> int:
    """Make messages ready whose time has come.

    :param now: seconds since the epoch.
    :return: how many there were.
    """
    db.execute("UPDATE message SET due = NULL WHERE due <= ?", (now,))
    return db.changes()


def next_due(db: apsw.Connection) -> float | None:
    """When the first waiting message is due, in seconds since the epoch."""
    row = _one(db, "SELECT min(due) FROM message WHERE due IS NOT NULL")
    return row[0] if row else None


def waiting(
    db: apsw.Connection, queues: Sequence[str], limit: int, task_ids: Sequence[str] | None = None
) -> list[Claimed]:
    """Up to ``limit`` waiting messages of some queues, as they are due; claims nothing.

    :param task_ids: only those of these tasks, None for all.
    """
    rows = _all(
        db,
        _WAITING,
        (json.dumps(queues), None if task_ids is None else json.dumps(task_ids), limit),
    )
    return [Claimed._make(row) for row in rows]


def size(db: apsw.Connection, queue: str) -> int:
    """How many messages of a queue are ready."""
    row = _one(
        db,
        "SELECT count(*) FROM message WHERE queue = ? AND claim IS NULL AND due IS NULL",
        (queue,),
    )
    return int(row[0])


def any_ready(db: apsw.Connection, queue: str) -> bool:
    """Whether a queue has a ready message."""
    found = _one(
        db,
        "SELECT 1 FROM message WHERE queue = ? AND claim IS NULL AND due IS NULL LIMIT 1",
        (queue,),
    )
    return found is not None


def purge(db: apsw.Connection, queue: str) -> int:
    """Delete the messages of a queue that nobody has claimed.

    :return: how many there were.
    """
    db.execute("DELETE FROM message WHERE queue = ? AND claim IS NULL", (queue,))
    return db.changes()


def declare_queue(
    db: apsw.Connection,
    name: str,
    *,
    message_ttl: float | None,
    expires_after: float | None,
    auto_delete: bool,
    now: float,
) -> None:
    """Note that a queue exists; times are in seconds."""
    db.execute(
        "INSERT INTO queue VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (name) DO UPDATE SET"
        " message_ttl = ?2, expires_after = ?3, auto_delete = ?4, used = ?5",
        (name, message_ttl, expires_after, int(auto_delete), now),
    )


def has_queue(db: apsw.Connection, name: str) -> bool:
    """Whether a queue was declared and still exists."""
    return _one(db, "SELECT 1 FROM queue WHERE name = ?", (name,)) is not None


def message_ttl(db: apsw.Connection, queue: str) -> float | None:
    """Seconds a message may stay in a queue, None for as long as it takes."""
    row = _one(db, "SELECT message_ttl FROM queue WHERE name = ?", (queue,))
    return row[0] if row else None


def delete_queue(db: apsw.Connection, name: str) -> None:
    """Remove a queue with its bindings and everything in it that nobody has claimed."""
    purge(db, name)
    db.execute("DELETE FROM binding WHERE queue = ?", (name,))
    db.execute("DELETE FROM queue WHERE name = ?", (name,))


def bind(db: apsw.Connection, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
    """Bind a queue to an exchange."""
    db.execute(
        "INSERT OR IGNORE INTO binding VALUES (?, ?, ?, ?)", (exchange, routing_key, pattern, queue)
    )


def unbind(db: apsw.Connection, exchange: str, routing_key: str, queue: str) -> None:
    """Take a binding back."""
    db.execute(
        "DELETE FROM binding WHERE exchange = ? AND routing_key = ? AND queue = ?",
        (exchange, routing_key, queue),
    )


def bindings(db: apsw.Connection, exchange: str) -> list[tuple[str, str, str]]:
    """The bindings of an exchange, as (routing key, pattern, queue)."""
    return _all(
        db, "SELECT routing_key, pattern, queue FROM binding WHERE exchange = ?", (exchange,)
    )


def consumers(db: apsw.Connection, queue: str) -> list[Process]:
    """The processes that consume a queue, dead ones included."""
    return [
        Process._make(row)
        for row in db.execute(
            "SELECT id, pid, lock, lease FROM process"
            " WHERE id IN (SELECT process FROM consumer WHERE queue = ?)",
            (queue,),
        )
    ]


def queue_of(db: apsw.Connection, task_id: str) -> str | None:
    """The queue a task waits in, None when it waits in none."""
    row = _one(
        db, "SELECT queue FROM message WHERE task_id = ? AND claim IS NULL LIMIT 1", (task_id,)
    )
    return row[0] if row else None


def expire(db: apsw.Connection, now: float) -> None:
    """Delete messages past their time limit, their own or their queue's."""
    db.execute("DELETE FROM message WHERE expires <= ? AND claim IS NULL", (now,))


def sweep(db: apsw.Connection, now: float) -> None:
    """Delete messages past their time limit and queues unused for too long, give back claims."""
    expire(db, now)
    release_ownerless(db)
    db.execute(
        "UPDATE queue SET used = ? WHERE expires_after IS NOT NULL"
        " AND name IN (SELECT queue FROM consumer)",
        (now,),
    )
    unused = _all(
        db,
        "SELECT name FROM queue WHERE expires_after IS NOT NULL AND used + expires_after < ?",
        (now,),
    )
    for (name,) in unused:
        delete_queue(db, name)
