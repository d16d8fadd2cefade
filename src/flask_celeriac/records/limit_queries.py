"""The SQL of unique tasks and limits where another broker has the queue. No function commits.

A key and a slot are free when the record of the task that had them says so. Each function first
writes the row of its key, which holds off all others until the transaction ends: what is read then
is as it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, and_, case, delete, func, insert, or_, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite

from .. import states
from ..tables import rate, record, slot, unique

#: Seconds in which the record of a run may still say what it said before.
GRACE = 10.0
#: Seconds after which a worker that does not say that it is alive is taken for dead.
LEASE = 60.0
#: Seconds after its time for which a place in the line is kept.
_ABSENT = 600.0
#: The task of the row that is only there to be locked.
_NOBODY = ""
#: How the key begins under which a worker says that it is alive.
_WORKER = "worker:"
#: How the key begins under which it is noted that its task was written into an outbox.
_OUTBOX = "outbox:"


class Slots(NamedTuple):
    """What came of asking for a slot.

    :param number: the slot, 0 when all are taken
    :param ticket: the place in the line, a negative number; 0 with a slot
    :param before: how many are in the line before it
    """

    number: int
    ticket: int
    before: int


class Run(NamedTuple):
    """A run that asks for a slot.

    :param tag: the worker's mark, a text that no other run has, and its message's mark, which is
        empty unless that was put off, with colons between
    """

    task_id: str
    tag: str


def _upsert(connection: Connection, table: Table, values: dict[str, Any], **changed: Any) -> None:
    """Add a row, or change the one there is; either way it is ours until the transaction ends."""
    dialect = connection.dialect.name
    if dialect in ("mysql", "mariadb"):
        connection.execute(mysql.insert(table).values(values).on_duplicate_key_update(**changed))
        return
    made = (postgresql if dialect == "postgresql" else sqlite).insert(table).values(values)
    keys = [column.name for column in table.primary_key]
    connection.execute(made.on_conflict_do_update(index_elements=keys, set_=changed))


def holder(
    connection: Connection, key: str, now: float, *, waiting: bool, lasting: bool
) -> str | None:
    """The task that has a key, None where it is free.

    :param waiting: only while that task waits, not while it runs
    :param lasting: until its moment also when it has ended
    """
    found = connection.execute(
        select(unique.c.task_id, unique.c.until).where(unique.c.key == key).with_for_update()
    ).first()
    if found is None:
        return None
    mine = record.c.task_id == found.task_id
    state = connection.execute(select(record.c.state).where(mine)).scalar()
    is_there = state in states.OPEN and not (waiting and state == states.RUNNING)
    held = is_there or (found.until > now and (lasting or state is None))
    return str(found.task_id) if held else None


def is_pending(connection: Connection, key: str, task_id: str) -> bool:
    """Whether a task with a key was written into an outbox, and nothing is known of it since."""
    written = select(unique.c.key).where(unique.c.key == _OUTBOX + key, unique.c.task_id == task_id)
    is_written = connection.execute(written).first() is not None
    return is_written and not _is_known(connection, task_id)


def _is_known(connection: Connection, task_id: str) -> bool:
    """Whether a task was ever sent."""
    known = select(record.c.id).where(record.c.task_id == task_id)
    return connection.execute(known).first() is not None


def reserve(
    connection: Connection,
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
    c = unique.c
    _upsert(connection, unique, {"key": key, "task_id": task_id, "until": until or now}, key=c.key)
    other = holder(connection, key, now, waiting=waiting, lasting=lasting)
    if other is not None and other != task_id:
        # The row made just now is its own as long as it has no record.
        return other
    if adopted and _is_known(connection, task_id):
        return task_id
    kept = case((c.task_id == task_id, c.until), else_=now) if until is None else until
    # In order: MySQL sees the columns assigned before.
    change = update(unique).where(c.key == key)
    connection.execute(change.ordered_values((c.until, kept), (c.task_id, task_id)))
    if pending:
        noted = {"task_id": task_id, "until": until or now}
        _upsert(connection, unique, {"key": _OUTBOX + key, **noted}, **noted)
    return None


def release(connection: Connection, key: str, task_id: str) -> None:
    """Take a key from a task that was not sent."""
    connection.execute(delete(unique).where(unique.c.key == key, unique.c.task_id == task_id))


def forget_keys(connection: Connection, now: float, limit: int) -> int:
    """Delete keys that nobody has any more; return how many."""
    held = record.c.state.in_(states.OPEN)
    rows = connection.execute(
        select(unique.c.key, unique.c.task_id)
        .outerjoin(record, and_(record.c.task_id == unique.c.task_id, held))
        .where(unique.c.until < now, record.c.id.is_(None))
        .limit(limit)
    ).all()
    gone = 0
    for key, task_id in rows:
        mine = (unique.c.key == key, unique.c.task_id == task_id, unique.c.until < now)
        gone += connection.execute(delete(unique).where(*mine)).rowcount
    return gone


def advance(connection: Connection, key: str, now: float, interval: float) -> float:
    """Count one more begin for a rate; return the moment that is kept for the key now."""
    kept = case((rate.c.next > now, rate.c.next), else_=now) + interval
    _upsert(connection, rate, {"key": key, "next": now + interval}, next=kept)
    return float(connection.execute(select(rate.c.next).where(rate.c.key == key)).scalar_one())


def forget_rates(connection: Connection, now: float, limit: int) -> int:
    """Delete moments that have passed: they say no more than none; return how many."""
    passed = select(rate.c.key).where(rate.c.next < now).limit(limit)
    keys = connection.execute(passed).scalars().all()
    mine = (rate.c.key.in_(keys), rate.c.next < now)
    return connection.execute(delete(rate).where(*mine)).rowcount


def take_slot(
    connection: Connection, key: str, at_once: int, run: Run, now: float, *, ticket: int
) -> Slots:
    """Take a slot of a limit, or a place in the line.

    :param ticket: the place that the task had in the line, 0 for none
    """
    _lock(connection, key, now)
    taken, is_there = set(), False
    for held in _held(connection, key):
        is_same = held.task_id == run.task_id
        if _runs_elsewhere(held, run, now) if is_same else _is_alive(held, now):
            taken.add(held.number)
            is_there = is_there or is_same
        else:
            _drop(connection, key, held.number)
    if len(taken) < at_once and not is_there:
        number = next(n for n in range(1, at_once + 1) if n not in taken)
        _put_slot(connection, key, number, run, now)
        _drop_ticket(connection, key, run.task_id, ticket)
        return Slots(number, 0, 0)
    late = (slot.c.key == key, slot.c.number < 0, slot.c.since < now - _ABSENT)
    connection.execute(delete(slot).where(*late))
    ticket = _queue_up(connection, key, run, now, ticket)
    waiting = (slot.c.key == key, slot.c.number < 0)
    first = connection.execute(select(func.max(slot.c.number)).where(*waiting)).scalar_one()
    return Slots(0, ticket, int(first) - ticket)


def _lock(connection: Connection, key: str, now: float) -> None:
    nobody = {"key": key, "number": 0, "task_id": _NOBODY, "run": _NOBODY, "since": now}
    _upsert(connection, slot, nobody, since=now)


def _held(connection: Connection, key: str) -> list[Any]:
    """The slots that are taken, with what records say of the runs and workers say of themselves."""
    worker = slot.alias("worker")
    mark = func.substr(slot.c.run, 1, 32)
    said = and_(worker.c.key == _WORKER + mark, worker.c.number == 0)
    found = (
        select(slot.c.number, slot.c.task_id, slot.c.run, slot.c.since)
        .add_columns(record.c.state, record.c.updated, worker.c.since.label("heard"))
        .select_from(slot)
        .outerjoin(record, record.c.task_id == slot.c.task_id)
        .outerjoin(worker, said)
        .where(slot.c.key == key, slot.c.number > 0)
    )
    return list(connection.execute(found))


def _is_alive(held: Any, now: float) -> bool:
    if held.since > now - GRACE:
        return True
    if held.heard is not None and held.heard < now - LEASE:
        return False
    if held.state is None or held.state == states.RUNNING:
        return True
    # Its begin could not be recorded: nothing was since it took the slot.
    return held.state in states.OPEN and held.updated <= held.since


def _runs_elsewhere(held: Any, run: Run, now: float) -> bool:
    """Whether a task that asks for a slot has one already, by another of its messages.

    A worker that was killed after it had put a run off, and before its message was acknowledged,
    leaves two. The message of a run that was killed comes again as it was: it takes its slot.
    """
    if _message_of(held.run) == _message_of(run.tag) or not _is_alive(held, now):
        return False
    return held.heard is not None or held.since > now - LEASE


def _message_of(tag: str) -> str:
    return tag.rpartition(":")[2]


def _queue_up(connection: Connection, key: str, run: Run, now: float, ticket: int) -> int:
    if ticket < 0:
        mine = (slot.c.key == key, slot.c.number == ticket)
        owner = connection.execute(select(slot.c.task_id).where(*mine)).scalar()
        if owner == run.task_id:
            connection.execute(update(slot).where(*mine).values(since=now))
            return ticket
        if owner is None:
            _put_slot(connection, key, ticket, run, now)
            return ticket
    last = connection.execute(select(func.min(slot.c.number)).where(slot.c.key == key)).scalar()
    ticket = min(int(last or 0), 0) - 1
    _put_slot(connection, key, ticket, run, now)
    return ticket


def _put_slot(connection: Connection, key: str, number: int, run: Run, now: float) -> None:
    values = {"key": key, "number": number, "task_id": run.task_id, "run": run.tag, "since": now}
    connection.execute(insert(slot).values(values))


def _drop(connection: Connection, key: str, number: int) -> None:
    connection.execute(delete(slot).where(slot.c.key == key, slot.c.number == number))


def _drop_ticket(connection: Connection, key: str, task_id: str, ticket: int) -> None:
    if ticket < 0:
        mine = (slot.c.key == key, slot.c.number == ticket, slot.c.task_id == task_id)
        connection.execute(delete(slot).where(*mine))


def give_slot_back(connection: Connection, key: str, number: int, tag: str) -> None:
    """Free a slot that a run still has."""
    mine = (slot.c.key == key, slot.c.number == number, slot.c.run == tag)
    connection.execute(delete(slot).where(*mine))


def slots_taken(connection: Connection, key: str, now: float) -> int:
    """How many slots of a limit are taken."""
    return sum(_is_alive(held, now) for held in _held(connection, key))


def in_line(connection: Connection, task_id: str) -> str | None:
    """The key of the limit in whose line a task is, None where it is in none."""
    mine = (slot.c.task_id == task_id, slot.c.number < 0)
    return connection.execute(select(slot.c.key).where(*mine).limit(1)).scalar()


def say_alive(connection: Connection, mark: str, now: float) -> None:
    """Note that a worker is alive, whose runs have slots."""
    nobody = {"key": _WORKER + mark, "number": 0, "task_id": _NOBODY, "run": _NOBODY, "since": now}
    _upsert(connection, slot, nobody, since=now)


def forget_slots(connection: Connection, before: float, limit: int) -> int:
    """Delete slots, places and workers' rows of those who are gone; return how many.

    :param before: only those of before this moment
    """
    gone = 0
    closed = or_(record.c.state.is_(None), record.c.state.not_in(states.OPEN))
    rows = connection.execute(
        select(slot.c.key, slot.c.number)
        .outerjoin(record, record.c.task_id == slot.c.task_id)
        .where(slot.c.since < before, closed)
        .limit(limit)
    ).all()
    for key, number in rows:
        same = (slot.c.key == key, slot.c.number == number, slot.c.since < before)
        gone += connection.execute(delete(slot).where(*same)).rowcount
    return gone
