"""The SQL of results, groups and chords. Functions take the connection first and never commit."""

from __future__ import annotations

import functools
import time
from json import dumps
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from ..tables import chord, chord_part, group, record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import apsw

#: A task that succeeded once has succeeded: what a second run of it says later changes nothing.
_FINAL: ColumnElement[str] = literal_column("'SUCCESS'")


class Record(NamedTuple):
    """What a result backend answers with."""

    task_id: str
    status: str | None
    result: str | None
    traceback: str | None
    children: str | None
    details: str | None
    finished: float | None
    updated: float


class Part(NamedTuple):
    """A member of a chord that has ended, in the order of the table's columns."""

    group_id: str
    task_id: str
    position: int
    state: str
    result: str | None


class Due(NamedTuple):
    """What the body of a chord is sent with.

    :param claims: how often somebody has taken it on to send it.
    """

    members: str | None
    body: str | None
    claims: int
    parts: list[Part]


_select = select(*(record.c[name] for name in Record._fields)).where(
    record.c.task_id == bindparam("id")
)


def find(connection: Connection, task_id: str) -> Record | None:
    """What a result backend answers with, or None."""
    row = connection.execute(_select, {"id": task_id}).first()
    return None if row is None else Record(*row)


def find_embedded(db: apsw.Connection, task_id: str) -> Record | None:
    """:func:`find`, on the embedded file, compiled once: a tenth of the time."""
    row = db.execute(_embedded_select(), {"id": task_id}).fetchone()
    return None if row is None else Record(*row)


@functools.cache
def _embedded_select() -> str:
    return str(_select.compile(dialect=sqlite.dialect(paramstyle="named")))


def among(connection: Connection, task_ids: Sequence[str], statuses: Iterable[str]) -> list[str]:
    """Those of some tasks that have one of these statuses."""
    mine = record.c.task_id.in_(task_ids), record.c.status.in_(list(statuses))
    return list(connection.execute(select(record.c.task_id).where(*mine)).scalars())


def forget(connection: Connection, task_id: str) -> None:
    """Delete the record of a task."""
    connection.execute(delete(record).where(record.c.task_id == task_id))


def store_group(connection: Connection, group_id: str, result: str) -> None:
    """Write the members of a group."""
    forget_group(connection, group_id)
    connection.execute(group.insert().values(group_id=group_id, result=result, created=time.time()))


def find_group(connection: Connection, group_id: str) -> str | None:
    """The members of a group, as stored, or None."""
    row = connection.execute(select(group.c.result).where(group.c.group_id == group_id)).first()
    return None if row is None else str(row[0])


def forget_group(connection: Connection, group_id: str) -> None:
    """Delete a group's members."""
    connection.execute(delete(group).where(group.c.group_id == group_id))


def span(connection: Connection) -> tuple[int, int]:
    """The lowest number of a record and the highest, (0, -1) where there is none."""
    lowest, highest = connection.execute(select(func.min(record.c.id), func.max(record.c.id))).one()
    return (0, -1) if lowest is None else (lowest, highest)


def expire(connection: Connection, before: float, first: int, last: int) -> None:
    """Clear what a result backend answers with in the records from one number to another.

    The record of the task stays.

    :param before: those last written before this moment, in seconds since the epoch.
    """
    old = update(record).where(
        record.c.id.between(first, last), record.c.updated < before, record.c.status.is_not(None)
    )
    connection.execute(old.values(dict.fromkeys(_ANSWER, None)))


_ANSWER = ("status", "result", "traceback", "children", "details")


def expire_groups(connection: Connection, before: float) -> None:
    """Delete the groups that were saved before a moment."""
    connection.execute(delete(group).where(group.c.created < before))


def begin_chord(connection: Connection, group_id: str, members: str | None, now: float) -> None:
    """Note a chord whose members are about to be sent. One that is under way goes on as it is."""
    fresh: dict[str, Any] = {"size": None, "added": 0, "returned": 0, "members": members}
    fresh |= {"claims": 0, "claimed_until": None, "sent": None, "updated": now}
    again = update(chord).where(chord.c.group_id == group_id, chord.c.sent.is_not(None))
    if not connection.execute(again.values(fresh)).rowcount:
        _insert_if_new(connection, chord, {"group_id": group_id, **fresh})


def resize_chord(
    connection: Connection, group_id: str, now: float, *, size: int | None = None, added: int = 0
) -> None:
    """Say how many members a chord has, or that it has more of them."""
    values: dict[str, Any] = {"updated": now, "added": chord.c.added + added}
    if size is not None:
        values["size"] = size
    known = update(chord).where(chord.c.group_id == group_id).values(values)
    if not connection.execute(known).rowcount:
        begin_chord(connection, group_id, None, now)
        connection.execute(known)


def add_part(connection: Connection, part: Part, now: float) -> bool:
    """Note that a member of a chord has ended: once, however often it runs.

    :return: whether it was the last.
    """
    mine = chord.c.group_id == part.group_id
    # First the chord's row, which parts that end at the same time then wait for.
    lock = update(chord).where(mine, chord.c.sent.is_(None)).values(updated=now)
    if not connection.execute(lock).rowcount:
        return False
    if not connection.execute(select(exists().where(*_is_part(part)))).scalar():
        connection.execute(insert(chord_part).values(part._asdict()))
        connection.execute(update(chord).where(mine).values(returned=chord.c.returned + 1))
    else:  # as for records: a success is final
        again = update(chord_part).where(*_is_part(part), chord_part.c.state != _FINAL)
        connection.execute(again.values(state=part.state, result=part.result))
    complete = chord.c.returned >= chord.c.size + chord.c.added
    found = connection.execute(select(chord.c.due).where(mine, complete)).first()
    return found is not None and found.due is None


def make_chord_due(connection: Connection, group_id: str, body: str | None, now: float) -> None:
    """Note that the body of a chord is to be sent."""
    connection.execute(update(chord).where(chord.c.group_id == group_id).values(due=now, body=body))


def part_status(connection: Connection, part: Part) -> tuple[bool, bool]:
    """Whether a member of a chord has been noted, and whether the chord's body is to be sent."""
    noted = exists().where(*_is_part(part))
    due = exists().where(chord.c.group_id == part.group_id, chord.c.due.is_not(None))
    row = connection.execute(select(noted, due)).one()
    return bool(row[0]), bool(row[1])


def claim_chord(
    connection: Connection, group_id: str, owner: str, now: float, until: float
) -> Due | None:
    """Take it on to send the body of a chord, unless somebody else is at it.

    :param owner: who; the same one may take it on again, after it was killed.
    :param until: when others may, in seconds since the epoch.
    """
    free = or_(
        chord.c.claimed_until.is_(None), chord.c.claimed_until < now, chord.c.claimed_by == owner
    )
    claim = update(chord).where(chord.c.group_id == group_id, chord.c.due.is_not(None), free)
    values = {"claimed_by": owner, "claimed_until": until, "claims": chord.c.claims + 1}
    if not connection.execute(claim.values(values)).rowcount:
        return None
    row = connection.execute(
        select(chord.c.members, chord.c.body, chord.c.claims).where(chord.c.group_id == group_id)
    ).one()
    parts = connection.execute(
        select(*chord_part.c)
        .where(chord_part.c.group_id == group_id)
        .order_by(chord_part.c.position, chord_part.c.task_id)
    )
    return Due(row.members, row.body, row.claims, [Part(*part) for part in parts])


def release_chord(connection: Connection, group_id: str) -> None:
    """Let somebody else send the body of a chord."""
    connection.execute(update(chord).where(chord.c.group_id == group_id).values(claimed_until=None))


def finish_chord(connection: Connection, group_id: str, now: float) -> None:
    """Note that the body of a chord was sent. The row stays, for members that run once more."""
    done = {"sent": now, "due": None, "body": None, "members": None, "updated": now}
    connection.execute(update(chord).where(chord.c.group_id == group_id).values(done))
    connection.execute(delete(chord_part).where(chord_part.c.group_id == group_id))


def due_chords(connection: Connection, now: float) -> list[str]:
    """The chords whose body is to be sent and is not being sent."""
    free = or_(chord.c.claimed_until.is_(None), chord.c.claimed_until < now)
    return list(
        connection.execute(select(chord.c.group_id).where(chord.c.due.is_not(None), free)).scalars()
    )


def in_due_chord(connection: Connection, task_id: str) -> bool:
    """Whether a task is named in a body that is to be sent."""
    named = chord.c.body.contains(dumps(task_id)[1:-1], autoescape=True)
    found = connection.execute(select(chord.c.group_id).where(chord.c.due.is_not(None), named))
    return found.first() is not None


def expire_chords(connection: Connection, sent: float, unfinished: float) -> None:
    """Delete chords whose body was sent, and whose last member ended, before two moments."""
    old = or_(and_(chord.c.sent.is_not(None), chord.c.updated < sent), chord.c.updated < unfinished)
    gone = list(connection.execute(select(chord.c.group_id).where(old)).scalars())
    for group_id in gone:
        connection.execute(delete(chord_part).where(chord_part.c.group_id == group_id))
        connection.execute(delete(chord).where(chord.c.group_id == group_id))


def _is_part(part: Part) -> tuple[ColumnElement[bool], ...]:
    return (
        chord_part.c.group_id == part.group_id,
        chord_part.c.task_id == part.task_id,
        chord_part.c.position == part.position,
    )


def _insert_if_new(connection: Connection, table: Table, values: dict[str, Any]) -> None:
    name = connection.dialect.name
    statement: Insert
    if name in ("mysql", "mariadb"):
        statement = mysql.insert(table).prefix_with("IGNORE")
    elif name == "postgresql":
        statement = postgresql.insert(table).on_conflict_do_nothing()
    else:
        statement = sqlite.insert(table).on_conflict_do_nothing()
    connection.execute(statement.values(values))


def in_queue(db: apsw.Connection, task_id: str) -> bool | None:
    """Whether a message of the embedded broker is a task, or will become it.

    The members of a chain, the body of a chord and what takes a replaced task's place travel in the
    body of the message before them.

    :return: None where a message cannot be read, because it is compressed or pickled.
    """
    (answer,) = db.execute(_IN_QUEUE, (task_id, dumps(task_id)[1:-1])).fetchall()[0]
    return None if answer is None else bool(answer)


def has_message(db: apsw.Connection, task_id: str) -> bool:
    """Whether a task is in the embedded broker's queue."""
    sql = "SELECT EXISTS (SELECT 1 FROM message WHERE task_id = ?)"
    return bool(db.execute(sql, (task_id,)).fetchall()[0][0])


def origin(db: apsw.Connection, number: int) -> dict[str, Any]:
    """What is known of a task by its message, by the names of the columns; nothing without one."""
    sql = "SELECT queue, priority, created FROM message WHERE id = ?"
    row = db.execute(sql, (number,)).fetchone()
    return {} if row is None else dict(zip(("queue", "priority", "created"), row, strict=True))


def is_claimed(db: apsw.Connection, task_id: str) -> bool | None:
    """Whether a worker has the task's message; None where there is no message."""
    sql = "SELECT claim IS NOT NULL FROM message WHERE task_id = ? ORDER BY 1 DESC LIMIT 1"
    row = db.execute(sql, (task_id,)).fetchone()
    return None if row is None else bool(row[0])


_IN_QUEUE = """
    SELECT CASE
        WHEN EXISTS (SELECT 1 FROM message WHERE task_id = ?1) THEN 1
        WHEN EXISTS (SELECT 1 FROM message WHERE instr(body, ?2)) THEN 1
        WHEN EXISTS (SELECT 1 FROM message WHERE typeof(body) = 'blob') THEN NULL
        ELSE 0
    END
"""
