"""The SQL of lists, counts and removals of records. No function commits.

A list is read newest first along one index. Conditions that no index serves are tried on a stated
number of rows, so that no request reads a whole table: a page says when it stopped there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from json import dumps
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
)

from .. import states
from ..tables import attempt, pause, record

if TYPE_CHECKING:
    from .task_record import Attempt, Filter

#: Rows that conditions without an index are tried on, for one page.
SCAN = 10_000
#: And for a count.
COUNT_SCAN = 100_000

#: What a list shows; the long texts are for a single task.
_LONG = {"result", "traceback", "children", "details"}
_LISTED = [column for column in record.c if column.name not in _LONG]


class Place(NamedTuple):
    """Where a list goes on: after the task of this time and this id.

    :param created: seconds since the epoch
    """

    created: float
    task_id: str


class Rows(NamedTuple):
    """A part of a list.

    :param reached: where the search stopped before it had found enough, else None
    """

    found: Sequence[Row[Any]]
    reached: Place | None


def find_task(connection: Connection, task_id: str) -> Row[Any] | None:
    """The whole record of a task."""
    return connection.execute(select(*record.c).where(record.c.task_id == task_id)).first()


def find_tasks(connection: Connection, ids: Iterable[str]) -> dict[str, Row[Any]]:
    """The records of some tasks, without their long texts."""
    wanted = list(ids)
    if not wanted:
        return {}
    rows = connection.execute(select(*_LISTED).where(record.c.task_id.in_(wanted)))
    return {row.task_id: row for row in rows}


def versions(connection: Connection, ids: Iterable[str]) -> dict[str, tuple[str, float]]:
    """What tells whether the records of some tasks have changed: state, time of the last write."""
    wanted = record.c.task_id.in_(list(ids))
    rows = connection.execute(
        select(record.c.task_id, record.c.state, record.c.updated).where(wanted)
    )
    return {row.task_id: (row.state, row.updated) for row in rows}


def list_tasks(connection: Connection, chosen: Filter, after: Place | None, limit: int) -> Rows:
    """The newest records that are chosen, up to ``limit``, without their long texts."""
    served, rest = _conditions(chosen)
    scan = SCAN if rest else limit + 1
    if after is not None:
        served.append(record.c.created <= after.created)
        rest.append(or_(record.c.created < after.created, record.c.task_id < after.task_id))
        scan += 1
    newest = select(*_LISTED).where(*served).order_by(record.c.created.desc()).limit(scan)
    inner = newest.subquery()
    outer = select(inner).where(*_on(rest, inner))
    outer = outer.order_by(inner.c.created.desc(), inner.c.task_id.desc()).limit(limit)
    found = connection.execute(outer).all()
    reached = None
    if len(found) < limit:
        count, oldest = connection.execute(
            select(func.count(), func.min(inner.c.created)).select_from(inner)
        ).one()
        if count >= scan:
            reached = Place(oldest, "")
    return Rows(found, reached)


def count_tasks(connection: Connection, chosen: Filter, cap: int) -> int:
    """How many records are chosen, counting no further than one beyond ``cap``."""
    served, rest = _conditions(chosen)
    inner: Any = select(*_LISTED).where(*served)
    if rest:
        inner = inner.order_by(record.c.created.desc()).limit(COUNT_SCAN).subquery()
        inner = select(inner.c.task_id).where(*_on(rest, inner))
    else:
        inner = select(record.c.task_id).where(*served)
    limited = inner.limit(cap + 1).subquery()
    return int(connection.execute(select(func.count()).select_from(limited)).scalar_one())


def _conditions(
    chosen: Filter,
) -> tuple[list[ColumnElement[bool]], list[ColumnElement[bool]]]:
    """The conditions that an index along ``created`` serves, and the others."""
    c = record.c
    exact: list[tuple[ColumnElement[Any], str | None]] = [
        (c.error_fingerprint, chosen.error),
        (c.name, chosen.name),
        (c.state, chosen.states[0] if len(chosen.states) == 1 else None),
        (c.queue, chosen.queue),
        (c.worker, chosen.worker),
    ]
    given = [column == value for column, value in exact if value is not None]
    indexed = [column for column, value in exact[:3] if value is not None]
    served = given[:1] if indexed else []
    rest = given[len(served) :]
    if len(chosen.states) > 1:
        rest.append(c.state.in_(chosen.states))
    if chosen.label is not None:
        rest.append(c.labels.contains(dumps(chosen.label), autoescape=True))
    if chosen.root is not None:
        rest.append(or_(c.root_id == chosen.root, c.task_id == chosen.root))
    if chosen.text:
        fields = (c.arguments, c.name, c.error_type, c.error_message)
        rest.append(or_(*(field.icontains(chosen.text, autoescape=True) for field in fields)))
    if chosen.created_after is not None:
        served.append(c.created >= chosen.created_after)
    if chosen.created_before is not None:
        served.append(c.created < chosen.created_before)
    return served, rest


def _on(conditions: list[ColumnElement[bool]], inner: Any) -> list[ColumnElement[bool]]:
    """Conditions on the table, said of a subquery of it."""
    from sqlalchemy.sql.util import ClauseAdapter

    adapter = ClauseAdapter(inner)
    return [adapter.traverse(condition) for condition in conditions]


def attempts_of(connection: Connection, task_id: str) -> list[Row[Any]]:
    """The attempts that did not end a task, the first one first."""
    mine = select(*attempt.c).where(attempt.c.task_id == task_id).order_by(attempt.c.number)
    return list(connection.execute(mine).all())


def add_attempt(connection: Connection, task_id: str, ended: Attempt) -> None:
    """Note an attempt that did not end its task, once."""
    mine = and_(attempt.c.task_id == task_id, attempt.c.number == ended.number)
    connection.execute(delete(attempt).where(mine))
    connection.execute(insert(attempt).values(task_id=task_id, **vars(ended)))


def tasks_of_workflow(connection: Connection, root_id: str, limit: int) -> list[Row[Any]]:
    """The tasks of a workflow but for its first, the oldest first."""
    members = select(*_LISTED).where(record.c.root_id == root_id)
    return list(connection.execute(members.order_by(record.c.created).limit(limit)).all())


def delete_task(connection: Connection, task_id: str) -> bool:
    """Forget an ended task, and its attempts."""
    mine = and_(record.c.task_id == task_id, record.c.state.in_(states.ENDED))
    if not connection.execute(delete(record).where(mine)).rowcount:
        return False
    connection.execute(delete(attempt).where(attempt.c.task_id == task_id))
    return True


def prune(connection: Connection, ended: Sequence[str], before: float, batch: int) -> int:
    """Delete up to ``batch`` records that ended in one of these states before a moment.

    :return: how many.
    """
    old = (
        select(record.c.id, record.c.task_id)
        .where(record.c.updated < before, record.c.state.in_(ended))
        .order_by(record.c.updated)
        .limit(batch)
    )
    rows = connection.execute(old).all()
    if rows:
        connection.execute(delete(record).where(record.c.id.in_([row.id for row in rows])))
        ids = [row.task_id for row in rows]
        connection.execute(delete(attempt).where(attempt.c.task_id.in_(ids)))
    return len(rows)


def queues_of_open_tasks(connection: Connection) -> list[tuple[str, int, float]]:
    """The queues of recorded tasks that wait: name, how many, when the first was sent."""
    waiting = record.c.state.in_((states.QUEUED, states.RETRYING))
    found: Select[Any] = (
        select(record.c.queue, func.count(), func.min(record.c.created))
        .where(waiting, record.c.queue.is_not(None))
        .group_by(record.c.queue)
    )
    return [(str(q), int(n), float(first)) for q, n, first in connection.execute(found)]


def paused(connection: Connection) -> dict[str, float]:
    """The queues from which nothing is taken, and since when."""
    return {row.queue: row.since for row in connection.execute(select(*pause.c))}


def pause_queue(connection: Connection, queue: str, now: float, actor: str | None) -> bool:
    """Note that nothing is to be taken from a queue; False where that was so."""
    if connection.execute(select(pause.c.queue).where(pause.c.queue == queue)).first():
        return False
    connection.execute(insert(pause).values(queue=queue, since=now, actor=actor))
    return True


def resume_queue(connection: Connection, queue: str) -> bool:
    """Take that back; False where it was not so."""
    return bool(connection.execute(delete(pause).where(pause.c.queue == queue)).rowcount)
