"""The SQL of the outbox. Every function takes the connection first and never commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Delete, Update, delete, exists, func, insert, select, update

from ..tables import outbox

#: What fits into a statement's list of ids everywhere.
_IDS = 500


class Row(NamedTuple):
    """A message in the outbox, in the order of the statement's columns.

    :param due: from when on a relay may take it, None where it was given up
    """

    id: int
    task_id: str | None
    task: str | None
    queue: str | None
    message: str
    created: float
    due: float | None
    attempts: int
    error: str | None


_insert = insert(outbox)
_columns = [outbox.c[name] for name in Row._fields]


def has_table(connection: Connection) -> bool:
    """Whether the outbox has been made here."""
    return connection.dialect.has_table(connection, outbox.name)


def add(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Add messages; their numbers."""
    if len(rows) > 1 and connection.dialect.insert_executemany_returning:
        return list(connection.execute(insert(outbox).returning(outbox.c.id), rows).scalars())
    numbers = []
    for row in rows:
        key = connection.execute(_insert, row).inserted_primary_key
        numbers.append(int(key[0]) if key else 0)
    return numbers


def any_due(connection: Connection, now: float) -> bool:
    """Whether there is a message that may be taken."""
    due = select(outbox.c.id).where(outbox.c.due <= now).limit(1)
    return connection.execute(due).first() is not None


def claim(connection: Connection, owner: str, now: float, until: float, limit: int) -> list[Row]:
    """Take the oldest messages that may be taken, which nobody else gets for a time.

    :param until: when others may take them
    """
    free = outbox.c.due <= now
    oldest = select(outbox.c.id).where(free).order_by(outbox.c.id).limit(limit)
    if connection.dialect.name == "sqlite":  # one statement: who writes there is alone
        taken = update(outbox).where(outbox.c.id.in_(oldest.scalar_subquery()))
        connection.execute(taken.values(owner=owner, due=until))
        mine = select(*_columns).where(outbox.c.owner == owner, outbox.c.due == until)
        return [Row(*row) for row in connection.execute(mine.order_by(outbox.c.id))]
    if _skips_locked(connection):
        oldest = oldest.with_for_update(skip_locked=True)
    ids = list(connection.execute(oldest).scalars())
    if not ids:
        return []
    taken = update(outbox).where(outbox.c.id.in_(ids), free)
    connection.execute(taken.values(owner=owner, due=until))
    return owned(connection, ids, owner, now)


def _skips_locked(connection: Connection) -> bool:
    """Whether the server passes over rows that another relay is taking."""
    dialect: Any = connection.dialect
    version: tuple[Any, ...] = dialect.server_version_info or (0,)
    if dialect.name == "postgresql":
        return True
    if getattr(dialect, "is_mariadb", False):
        return bool(version >= (10, 6))
    return dialect.name == "mysql" and bool(version >= (8,))


def owned(connection: Connection, ids: Sequence[int], owner: str, after: float) -> list[Row]:
    """Those of some messages that are somebody's until a moment or longer, the oldest first."""
    found: list[Row] = []
    for some in _parts(ids):
        mine = outbox.c.id.in_(some), outbox.c.owner == owner, outbox.c.due > after
        found += [Row(*row) for row in connection.execute(select(*_columns).where(*mine))]
    return sorted(found, key=lambda row: row.id)


def remove(connection: Connection, ids: Sequence[int], owner: str) -> None:
    """Delete messages that were published by their owner."""
    for some in _parts(ids):
        connection.execute(delete(outbox).where(outbox.c.id.in_(some), outbox.c.owner == owner))


def release(
    connection: Connection, ids: Sequence[int], owner: str, now: float, error: str | None
) -> None:
    """Let others take messages, at once.

    :param error: why they were not published
    """
    for some in _parts(ids):
        mine = update(outbox).where(outbox.c.id.in_(some), outbox.c.owner == owner)
        connection.execute(mine.values(owner=None, due=now, error=error))


def postpone(
    connection: Connection, number: int, owner: str, due: float | None, error: str
) -> None:
    """Note that a message could not be published for a reason of its own.

    :param due: when it is tried again, None never
    """
    mine = update(outbox).where(outbox.c.id == number, outbox.c.owner == owner)
    tried = outbox.c.attempts + 1
    connection.execute(mine.values(owner=None, due=due, error=error, attempts=tried))


def find(connection: Connection, task_id: str) -> Row | None:
    """The first message of a task."""
    first = select(*_columns).where(outbox.c.task_id == task_id).order_by(outbox.c.id).limit(1)
    row = connection.execute(first).first()
    return None if row is None else Row(*row)


def dead(connection: Connection, limit: int) -> list[Row]:
    """Messages that were given up, the oldest first."""
    given_up = select(*_columns).where(outbox.c.due.is_(None)).order_by(outbox.c.id).limit(limit)
    return [Row(*row) for row in connection.execute(given_up)]


def waiting(connection: Connection) -> int:
    """How many messages are still to be published."""
    count = select(func.count()).select_from(outbox).where(outbox.c.due.is_not(None))
    return connection.execute(count).scalar_one()


def revive(connection: Connection, task_ids: Sequence[str] | None, now: float) -> int:
    """Have messages that were given up published after all.

    :param task_ids: None for all of them
    :return: how many there were
    """
    statement = update(outbox).where(outbox.c.due.is_(None)).values(due=now, attempts=0, owner=None)
    return _of_tasks(connection, statement, task_ids)


def discard(connection: Connection, task_ids: Sequence[str] | None) -> int:
    """Delete messages that were given up.

    :param task_ids: None for all of them
    :return: how many there were
    """
    return _of_tasks(connection, delete(outbox).where(outbox.c.due.is_(None)), task_ids)


def _of_tasks(
    connection: Connection, statement: Update | Delete, task_ids: Sequence[str] | None
) -> int:
    if task_ids is None:
        return connection.execute(statement).rowcount
    wanted = (statement.where(outbox.c.task_id.in_(some)) for some in _parts(task_ids))
    return sum(connection.execute(some).rowcount for some in wanted)


def take_back(connection: Connection, task_id: str) -> bool:
    """Delete the messages of a task that nobody is publishing; whether there were any."""
    mine = outbox.c.task_id == task_id
    return connection.execute(delete(outbox).where(mine)).rowcount > 0


def is_known(connection: Connection, task_id: str) -> bool:
    """Whether a task has a message here."""
    return bool(connection.execute(select(exists().where(outbox.c.task_id == task_id))).scalar())


def _parts(values: Sequence[Any]) -> Iterable[list[Any]]:
    for at in range(0, len(values), _IDS):
        yield list(values[at : at + _IDS])
