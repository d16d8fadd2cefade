"""The SQL of lists, counts and removals of records. No function commits.

A list is read newest first along one index. Conditions that no index serves are tried on a stated
number of rows, so that no request reads a whole table: a page says when it stopped there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
from sqlalchemy.exc import IntegrityError

from .. import states
from ..tables import attempt, dead_letter, pause, record
from .task_record import Filter

if TYPE_CHECKING:
    from .task_record import Attempt

    Shows = Callable[[Row[Any]], bool] | None

#: Rows that conditions without an index are tried on, for one page.
SCAN = 5_000
#: And for a count.
COUNT_SCAN = 5_000
#: Rows that are fetched at a time where each is looked at.
BATCH = 500
#: Tasks that wait, among which the first of each queue is looked for.
OLDEST = 2_000

#: What :func:`pause_queue` raises where another was faster by a moment.
PausedMeanwhile = IntegrityError
#: The state of an attempt that was cut off by the death of its process.
LOST = "lost"
#: What a list shows; the long texts are for a single task.
_LONG = {"result", "traceback", "children", "details"}
_LISTED = [column for column in record.c if column.name not in _LONG]
_CUT_OFF = (attempt.c.task_id == record.c.task_id, attempt.c.state == LOST)
_RUNS_LOST = select(func.count()).where(*_CUT_OFF).correlate(record).scalar_subquery().label("lost")
_SHOWN: list[ColumnElement[Any]] = [*_LISTED, _RUNS_LOST]
_WHOLE: list[ColumnElement[Any]] = [*record.c, _RUNS_LOST]


class Place(NamedTuple):
    """Where a list goes on: after the task of this time and this id.

    :param created: seconds since the epoch
    :param task_id: empty after all tasks of this time
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
    return connection.execute(select(*_WHOLE).where(record.c.task_id == task_id)).first()


def find_tasks(connection: Connection, ids: Iterable[str]) -> dict[str, Row[Any]]:
    """The records of some tasks, without their long texts."""
    wanted = list(ids)
    if not wanted:
        return {}
    rows = connection.execute(select(*_SHOWN).where(record.c.task_id.in_(wanted)))
    return {row.task_id: row for row in rows}


def versions(connection: Connection, ids: Iterable[str]) -> dict[str, tuple[str, float]]:
    """What tells whether the records of some tasks have changed: state, time of the last write."""
    wanted = record.c.task_id.in_(list(ids))
    these = select(record.c.task_id, record.c.state, record.c.updated).where(wanted)
    return {row.task_id: (row.state, row.updated) for row in connection.execute(these)}


class _Part(NamedTuple):
    """Records that lie along one index, the newest last.

    :param chosen: what the index is asked for
    :param along: its name, where MySQL has to be told
    """

    chosen: list[ColumnElement[bool]]
    along: str | None


def list_tasks(
    connection: Connection, chosen: Filter, after: Place | None, limit: int, shows: Shows = None
) -> Rows:
    """The newest records that are chosen, up to ``limit``, without their long texts.

    :param shows: what is asked of each that was found, too; None for nothing
    """
    parts, rest = _conditions(chosen, after)
    scan = SCAN // len(parts) if rest else limit
    if after is not None and after.task_id:  # it is there still, and is not shown again
        rest.append(or_(record.c.created < after.created, record.c.task_id < after.task_id))
        scan += 1
    found: list[Row[Any]] = []
    reached: Place | None = None
    for part in parts:
        edge = _edge(connection, part, scan)
        rows = _newest(connection, _along(part, _SHOWN, edge).where(*rest), limit, shows)
        found += rows
        if edge is not None and len(rows) < limit:
            reached = max(reached or Place(edge, ""), Place(edge, ""))
    if len(parts) > 1:
        found.sort(key=lambda row: (row.created, row.task_id), reverse=True)
    if reached is not None:  # what is older was not looked for in every part
        found = [row for row in found if row.created >= reached.created]
    return Rows(found[:limit], reached if len(found) < limit else None)


def _newest(
    connection: Connection, statement: Select[Any], limit: int, shows: Shows
) -> list[Row[Any]]:
    """The first of some records that are shown so."""
    c = record.c
    statement = statement.order_by(c.created.desc(), c.task_id.desc())
    if shows is None:
        return list(connection.execute(statement.limit(limit)).all())
    found: list[Row[Any]] = []
    following = statement.limit(BATCH)
    while True:
        rows = connection.execute(following).all()
        found += filter(shows, rows)
        if len(found) >= limit or len(rows) < BATCH:
            return found[:limit]
        at, task_id = rows[-1].created, rows[-1].task_id
        place = and_(c.created <= at, or_(c.created < at, c.task_id < task_id))
        following = statement.where(place).limit(BATCH)


def count_tasks(
    connection: Connection, chosen: Filter, cap: int, shows: Shows = None
) -> tuple[int, bool]:
    """How many records are chosen, counting no further than one beyond ``cap``.

    Where conditions have no index, of the newest :data:`COUNT_SCAN` records.

    :param shows: as :func:`list_tasks` takes it
    :return: the number, and whether all records were looked at, as far as it was counted
    """
    parts, rest = _conditions(chosen, None)
    number, all_of_them = 0, True
    for part in parts:
        edge = _edge(connection, part, COUNT_SCAN // len(parts)) if rest else None
        all_of_them = all_of_them and edge is None
        left = cap + 1 - number
        if shows is not None:
            each = _along(part, _LISTED, edge).where(*rest)
            number += len(_newest(connection, each, left, shows))
        else:
            limited = _along(part, [record.c.id], edge).where(*rest).limit(left)
            counted = select(func.count()).select_from(limited.subquery())
            number += connection.execute(counted).scalar_one()
        if number > cap:
            break
    return number, all_of_them


def open_of_worker(connection: Connection, worker: str) -> tuple[list[str], bool]:
    """The open tasks whose records name a worker, among the newest :data:`COUNT_SCAN` open ones.

    :return: their ids, and whether all open tasks were looked at
    """
    parts, _ = _parts_and_rest(Filter(states=states.OPEN))
    ids: list[str] = []
    all_of_them = True
    for part in parts:
        edge = _edge(connection, part, COUNT_SCAN // len(parts))
        all_of_them = all_of_them and edge is None
        theirs = _along(part, [record.c.task_id], edge).where(record.c.worker == worker)
        ids += connection.execute(theirs).scalars()
    return ids, all_of_them


def _along(
    part: _Part, columns: Sequence[ColumnElement[Any]], edge: float | None = None
) -> Select[Any]:
    statement: Any = select(*columns).where(*part.chosen)
    if edge is not None:
        statement = statement.where(record.c.created >= edge)
    if part.along is not None:
        for dialect in ("mysql", "mariadb"):  # which would rather sort a part of the table
            statement = statement.with_hint(record, f"FORCE INDEX ({part.along})", dialect)
    return statement  # type: ignore[no-any-return]


def _edge(connection: Connection, part: _Part, scan: int) -> float | None:
    """When the last of so many records was made, None where there are not more of them."""
    newest = _along(part, [record.c.created]).order_by(record.c.created.desc())
    return connection.execute(newest.limit(1).offset(scan)).scalar()


def _conditions(
    chosen: Filter, after: Place | None
) -> tuple[list[_Part], list[ColumnElement[bool]]]:
    """The parts of the table that indexes along ``created`` lead to, and what else is asked for."""
    c = record.c
    parts, rest = _parts_and_rest(chosen)
    if chosen.label is not None:
        text = dumps(chosen.label, ensure_ascii=False)
        rest.append(c.labels.contains(text, autoescape=True))
    if chosen.text:
        fields = (c.arguments, c.name, c.error_type, c.error_message)
        places = [field.icontains(chosen.text, autoescape=True) for field in fields]
        escaped = chosen.spellings[1:]
        places += [c.arguments.icontains(each, autoescape=True) for each in escaped]
        rest.append(or_(*places))
    during: list[ColumnElement[bool]] = []
    if after is not None:
        during.append(c.created <= after.created if after.task_id else c.created < after.created)
    if chosen.created_after is not None:
        during.append(c.created >= chosen.created_after)
    if chosen.created_before is not None:
        during.append(c.created < chosen.created_before)
    return [_Part([*part.chosen, *during], part.along) for part in parts], rest


def _parts_and_rest(chosen: Filter) -> tuple[list[_Part], list[ColumnElement[bool]]]:
    """The index that leads to the fewest records, and what it does not know."""
    c = record.c
    # A column, what it has to be, and the index that begins with the column.
    ways: list[list[tuple[ColumnElement[Any], str, str | None]]] = []
    if chosen.root is not None:
        root = chosen.root
        ways.append([(c.root_id, root, "celeriac_record_root"), (c.task_id, root, None)])
    if chosen.error is not None:
        ways.append([(c.error_fingerprint, chosen.error, "celeriac_record_error")])
    if chosen.name is not None:
        ways.append([(c.name, chosen.name, "celeriac_record_name")])
    if chosen.states:
        wanted = dict.fromkeys(chosen.states)
        ways.append([(c.state, state, "celeriac_record_state") for state in wanted])
    # As an expression it tempts no database to another index than the one that bounds the search.
    rest = [or_(*(column.concat("") == value for column, value, _ in way)) for way in ways[1:]]
    others = ((c.queue, chosen.queue), (c.worker, chosen.worker))
    rest += [column == value for column, value in others if value is not None]
    if not ways:
        return [_Part([], "celeriac_record_created")], rest
    return [_Part([column == value], index) for column, value, index in ways[0]], rest


def attempts_of(connection: Connection, task_id: str) -> list[Row[Any]]:
    """The attempts that did not end a task, the first one first."""
    mine = select(*attempt.c).where(attempt.c.task_id == task_id).order_by(attempt.c.number)
    return list(connection.execute(mine).all())


def add_attempt(connection: Connection, task_id: str, ended: Attempt) -> None:
    """Note an attempt that did not end its task, once.

    :param ended: its ``number`` without those that were lost, which count here
    """
    number = ended.number + _lost(connection, task_id)
    mine = and_(attempt.c.task_id == task_id, attempt.c.number == number)
    connection.execute(delete(attempt).where(mine))
    values = {**vars(ended), "number": number}
    connection.execute(insert(attempt).values(task_id=task_id, **values))


def add_lost_attempt(
    connection: Connection, task_id: str, number: int, run: dict[str, Any], *, certain: bool
) -> None:
    """Note that a run was cut off, with what the record says of it until the next one is recorded.

    :param number: of the attempt, without those that were lost
    :param run: its ``worker`` and when it ``started``, where that is known without the record
    :param certain: it was; if not, it was if the record says that a worker is at it
    """
    c = record.c
    at_it = (c.task_id == task_id, c.state == states.RUNNING, c.worker.is_not(None))
    row = connection.execute(select(c.worker, c.started).where(*at_it)).mappings().first()
    if row is None and not certain:
        return
    values = {
        **(run if row is None else row),
        "task_id": task_id,
        "number": number + _lost(connection, task_id),
        "state": LOST,
        "error_message": "Its process died.",
    }
    connection.execute(insert(attempt).values(values))


def _lost(connection: Connection, task_id: str) -> int:
    lost = and_(attempt.c.task_id == task_id, attempt.c.state == LOST)
    return connection.execute(select(func.count()).select_from(attempt).where(lost)).scalar_one()


def tasks_of_workflow(connection: Connection, root_id: str, limit: int) -> list[Row[Any]]:
    """The tasks of a workflow but for its first, the oldest first."""
    members = select(*_SHOWN).where(record.c.root_id == root_id)
    return list(connection.execute(members.order_by(record.c.created).limit(limit)).all())


def delete_task(connection: Connection, task_id: str) -> bool:
    """Forget an ended task, and its attempts."""
    mine = and_(record.c.task_id == task_id, record.c.state.in_(states.ENDED))
    if not connection.execute(delete(record).where(mine)).rowcount:
        return False
    for table in (attempt, dead_letter):
        connection.execute(delete(table).where(table.c.task_id == task_id))
    return True


def delete_unsent(connection: Connection, ids: Sequence[str], before: float) -> None:
    """Forget tasks that have not begun, and never will; not those that were sent since a moment."""
    waiting = record.c.state.in_((states.QUEUED, states.SCHEDULED))
    mine = and_(record.c.task_id.in_(ids), waiting, record.c.updated <= before)
    connection.execute(delete(record).where(mine))


def oldest_waiting(connection: Connection) -> dict[str, float]:
    """When the first task that waits in each queue was sent, of the :data:`OLDEST` oldest ones."""
    queued: list[ColumnElement[bool]] = [record.c.state == states.QUEUED]
    part = _Part(queued, "celeriac_record_state")
    oldest = _along(part, [record.c.queue, record.c.created]).order_by(record.c.created)
    few = oldest.limit(OLDEST).subquery()
    found = select(few.c.queue, func.min(few.c.created)).where(few.c.queue.is_not(None))
    rows: Any = connection.execute(found.group_by(few.c.queue))
    return {str(queue): float(first) for queue, first in rows}


def paused(connection: Connection) -> dict[str, float]:
    """The queues from which nothing is taken, and since when."""
    return {row.queue: row.since for row in connection.execute(select(*pause.c))}


def pause_queue(connection: Connection, queue: str, now: float, actor: str | None) -> bool:
    """Note that nothing is to be taken from a queue; False where that was so.

    :raises PausedMeanwhile: somebody else does the same just now.
    """
    if connection.execute(select(pause.c.queue).where(pause.c.queue == queue)).first():
        return False
    connection.execute(insert(pause).values(queue=queue, since=now, actor=actor))
    return True


def resume_queue(connection: Connection, queue: str) -> bool:
    """Take that back; False where it was not so."""
    return bool(connection.execute(delete(pause).where(pause.c.queue == queue)).rowcount)
