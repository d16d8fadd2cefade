"""The SQL of unique tasks and limits in the embedded file. No function commits.

Whether a key is held, or a slot taken, is read off the queue: nobody has to give anything back for
it to be free, so that no crash leaves anything behind. Every function needs a write transaction.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import states

if TYPE_CHECKING:
    import apsw

    from .queries import Row

#: How the key begins under which it is noted that its task was written into an outbox.
_OUTBOX = "outbox:"
#: Tickets that one freed slot looks at: those before the first that is any good go.
_LOOKED_AT = 100


class Run(NamedTuple):
    """A run that asks for a slot.

    :param tag: the delivery tag of its message
    """

    task_id: str
    tag: str


class Slots(NamedTuple):
    """What came of asking for a slot.

    :param number: the slot, 0 when all are taken
    :param ticket: the place in the line, a negative number; 0 with a slot
    :param before: how many are in the line before it
    """

    number: int
    ticket: int
    before: int


_WAITS = "SELECT 1 FROM message WHERE task_id = ? AND claim IS NULL LIMIT 1"
#: The message of a task that has ended is about to go.
_THERE = f"""
    SELECT 1 FROM message m WHERE task_id = ? AND (claim IS NULL OR NOT EXISTS (
        SELECT 1 FROM celeriac_record r WHERE r.task_id = m.task_id AND r.state IN {states.ENDED}
    )) LIMIT 1
"""
#: A slot is that of a claim, whose delivery tag it has; a place in the line, that of a message.
_FORGET_SLOTS = """
    DELETE FROM celeriac_slot WHERE (key, number) IN (
        SELECT key, number FROM celeriac_slot s WHERE since < ? AND CASE
            WHEN number > 0 THEN NOT EXISTS (
                SELECT 1 FROM message WHERE id = CAST(substr(run, 1, instr(run, '.') - 1) AS INT)
                AND claim = CAST(substr(run, instr(run, '.') + 1) AS INT)
            )
            ELSE NOT EXISTS (
                SELECT 1 FROM message WHERE task_id = s.task_id AND claim IS NULL
            )
        END LIMIT ?
    )
"""
_HELD = "SELECT number, run FROM celeriac_slot WHERE key = ? AND number > 0"


def _all(db: apsw.Connection, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
    return db.execute(sql, parameters).fetchall()


def _one(db: apsw.Connection, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
    return db.execute(sql, parameters).fetchone()


def holder(
    db: apsw.Connection, key: str, now: float, *, waiting: bool, lasting: bool
) -> str | None:
    """The task that has a key, None where it is free.

    :param waiting: only while that task waits, not while it runs
    :param lasting: until its moment also when it has ended
    """
    found = _one(db, "SELECT task_id, until FROM celeriac_unique WHERE key = ?", (key,))
    if found is None:
        return None
    task_id, until = found
    if _is_there(db, task_id, waiting=waiting):
        return str(task_id)
    return str(task_id) if until > now and (lasting or not _is_known(db, task_id)) else None


def _is_there(db: apsw.Connection, task_id: str, *, waiting: bool) -> bool:
    return _one(db, _WAITS if waiting else _THERE, (task_id,)) is not None


def _is_known(db: apsw.Connection, task_id: str) -> bool:
    """Whether a task was ever sent."""
    sql = (
        "SELECT EXISTS (SELECT 1 FROM message WHERE task_id = ?1)"
        " OR EXISTS (SELECT 1 FROM celeriac_record WHERE task_id = ?1)"
    )
    return bool(_one(db, sql, (task_id,))[0])


def is_pending(db: apsw.Connection, key: str, task_id: str) -> bool:
    """Whether a task with a key was written into an outbox, and nothing is known of it since."""
    written = "SELECT 1 FROM celeriac_unique WHERE key = ? AND task_id = ?"
    return _one(db, written, (_OUTBOX + key, task_id)) is not None and not _is_known(db, task_id)


def reserve(
    db: apsw.Connection,
    key: str,
    task_id: str,
    until: float | None,
    now: float,
    *,
    waiting: bool,
    lasting: bool,
    pending: bool = False,
    adopted: bool = False,
) -> str | None:
    """Give a key to a task about to be sent, if nobody has it.

    :param until: how long it is the task's in any case; None to leave that as it is
    :param pending: it goes into an outbox
    :param adopted: it takes the place of one that did
    :return: the task that has it, if it is another one, or was sent meanwhile
    """
    other = holder(db, key, now, waiting=waiting, lasting=lasting)
    if other is not None and other != task_id:
        return other
    if adopted and _is_known(db, task_id):
        return task_id
    for name in (key, _OUTBOX + key) if pending else (key,):
        db.execute(
            "INSERT INTO celeriac_unique (key, task_id, until) VALUES (?1, ?2, coalesce(?3, ?4))"
            " ON CONFLICT (key) DO UPDATE SET"
            " until = coalesce(?3, CASE WHEN task_id = ?2 THEN until ELSE ?4 END), task_id = ?2",
            (name, task_id, until, now),
        )
    return None


def forget_keys(db: apsw.Connection, now: float, limit: int) -> int:
    """Delete keys that nobody has any more; return how many."""
    db.execute(
        "DELETE FROM celeriac_unique WHERE key IN (SELECT key FROM celeriac_unique u"
        " WHERE until < ? AND NOT EXISTS (SELECT 1 FROM message WHERE task_id = u.task_id)"
        " LIMIT ?)",
        (now, limit),
    )
    return db.changes()


def advance(db: apsw.Connection, key: str, now: float, interval: float) -> float:
    """Count one more begin for a rate; return the moment that is kept for the key now."""
    found = _one(
        db,
        "INSERT INTO celeriac_rate (key, next) VALUES (?1, ?2 + ?3)"
        " ON CONFLICT (key) DO UPDATE SET next = max(next, ?2) + ?3 RETURNING next",
        (key, now, interval),
    )
    return float(found[0])


def forget_rates(db: apsw.Connection, now: float, limit: int) -> int:
    """Delete moments that have passed: they say no more than none; return how many."""
    db.execute(
        "DELETE FROM celeriac_rate WHERE key IN"
        " (SELECT key FROM celeriac_rate WHERE next < ? LIMIT ?)",
        (now, limit),
    )
    return db.changes()


def take_slot(
    db: apsw.Connection, key: str, at_once: int, run: Run, now: float, *, ticket: int
) -> Slots:
    """Take a slot of a limit, or a place in the line.

    :param ticket: the place that the task had in the line, 0 for none
    """
    taken = set()
    for number, other in _all(db, _HELD, (key,)):
        if other != run.tag and _is_claimed(db, other):
            taken.add(number)
        else:
            db.execute("DELETE FROM celeriac_slot WHERE key = ? AND number = ?", (key, number))
    if len(taken) < at_once:
        number = next(n for n in range(1, at_once + 1) if n not in taken)
        _put_slot(db, key, number, run, now)
        _drop_ticket(db, key, run.task_id, ticket)
        return Slots(number, 0, 0)
    ticket = _queue_up(db, key, run, now, ticket)
    first = _one(db, "SELECT max(number) FROM celeriac_slot WHERE key = ? AND number < 0", (key,))
    return Slots(0, ticket, int(first[0]) - ticket)


def _is_claimed(db: apsw.Connection, tag: str) -> bool:
    message, _, claim = tag.partition(".")
    sql = "SELECT 1 FROM message WHERE id = ? AND claim = ?"
    return _one(db, sql, (int(message), int(claim))) is not None


def _queue_up(db: apsw.Connection, key: str, run: Run, now: float, ticket: int) -> int:
    if ticket < 0:
        sql = "SELECT task_id FROM celeriac_slot WHERE key = ? AND number = ?"
        found = _one(db, sql, (key, ticket))
        if found is not None and found[0] == run.task_id:
            return ticket
        if found is None:  # it was called, and somebody else was faster
            _put_slot(db, key, ticket, run, now)
            return ticket
    last = _one(db, "SELECT min(number) FROM celeriac_slot WHERE key = ?", (key,))[0]
    ticket = min(int(last or 0), 0) - 1
    _put_slot(db, key, ticket, run, now)
    return ticket


def _put_slot(db: apsw.Connection, key: str, number: int, run: Run, now: float) -> None:
    db.execute(
        "INSERT INTO celeriac_slot (key, number, task_id, run, since) VALUES (?, ?, ?, ?, ?)",
        (key, number, run.task_id, run.tag, now),
    )


def _drop_ticket(db: apsw.Connection, key: str, task_id: str, ticket: int) -> None:
    if ticket < 0:
        sql = "DELETE FROM celeriac_slot WHERE key = ? AND number = ? AND task_id = ?"
        db.execute(sql, (key, ticket, task_id))


def give_slot_back(db: apsw.Connection, key: str, number: int, tag: str) -> bool:
    """Free a slot that a run still has, and call the first in the line.

    :return: whether a message became ready
    """
    sql = "DELETE FROM celeriac_slot WHERE key = ? AND number = ? AND run = ?"
    db.execute(sql, (key, number, tag))
    return db.changes() > 0 and _call_next(db, key)


def _call_next(db: apsw.Connection, key: str) -> bool:
    line = _all(
        db,
        "SELECT number, task_id FROM celeriac_slot WHERE key = ? AND number < 0"
        " ORDER BY number DESC LIMIT ?",
        (key, _LOOKED_AT),
    )
    for ticket, task_id in line:
        db.execute(
            "UPDATE message SET due = NULL WHERE task_id = ? AND claim IS NULL AND due IS NOT NULL",
            (task_id,),
        )
        called = db.changes() > 0
        _drop_ticket(db, key, task_id, ticket)
        if called:
            return True
    return False


def put_off(
    db: apsw.Connection, message: int, claim: int, due: float, headers: dict[str, Any]
) -> bool:
    """Have a claimed message wait in its place, as if it had not been claimed.

    :param headers: what is added to those it has; None takes one away
    :return: whether the claim was still held
    """
    db.execute(
        "UPDATE message SET claim = NULL, claims = claims - 1, due = ?,"
        " envelope = CASE WHEN json_valid(envelope, 2) THEN json_patch(envelope, ?)"
        " ELSE envelope END WHERE id = ? AND claim = ?",
        (due, json.dumps({"headers": headers}), message, claim),
    )
    return db.changes() > 0


def slots_taken(db: apsw.Connection, key: str) -> int:
    """How many slots of a limit are taken."""
    return sum(_is_claimed(db, run) for _, run in _all(db, _HELD, (key,)))


def in_line(db: apsw.Connection, task_id: str) -> str | None:
    """The key of the limit in whose line a task is, None where it is in none."""
    sql = "SELECT key FROM celeriac_slot WHERE task_id = ? AND number < 0 LIMIT 1"
    found = _one(db, sql, (task_id,))
    return None if found is None else str(found[0])


def forget_slots(db: apsw.Connection, before: float, limit: int) -> int:
    """Delete slots and places of runs and tasks that are gone; return how many.

    :param before: only those taken before this moment
    """
    db.execute(_FORGET_SLOTS, (before, limit))
    return db.changes()


class Condition:
    """Lets a message be put only if its task gets a key, in the same transaction.

    :param asked: what :func:`reserve` takes

    .. versionadded:: 0.1
    """

    def __init__(self, task_id: str, **asked: Any) -> None:
        self.task_id = task_id
        self._asked = asked

    def concerns(self, row: Row) -> bool:
        """Whether it is about this message."""
        return row.task_id == self.task_id

    def check(self, db: apsw.Connection) -> str | None:
        """Take the key; return another task that has it."""
        return reserve(db, task_id=self.task_id, **self._asked)
