"""Lists of tasks, a page at a time, and how many there are."""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .. import states
from ..broker import task_queries as queue_queries
from ..errors import InvalidRequestError
from ..records import task_queries
from ..records.task_record import Filter, TaskRecord
from . import reading, searching
from .sources import Sources, sources_of

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery


#: Tasks on a page, unless asked for more or fewer, and at most.
PAGE = 50
LARGEST_PAGE = 500
#: How often the records are looked into for one page.
LOOKS = 10
#: Counts go no further.
COUNT_CAP = 10_000


@dataclass(frozen=True)
class Page:
    """A part of a list, newest first.

    :param next: the cursor of the next part, None where this is the last
    :param searched_all: False where the search stopped before it had found enough, as none of its
        conditions has an index: the next part may hold more
    """

    tasks: list[TaskRecord]
    next: str | None
    searched_all: bool = True


@dataclass(frozen=True)
class Count:
    """How many tasks there are.

    :param capped: there may be more than this number: it is as far as is counted, or of the newest
        tasks only, as conditions have no index
    """

    number: int
    capped: bool

    def __str__(self) -> str:
        short = f"{self.number // 1000}k" if self.number >= 1000 else str(self.number)
        return f"{short}+" if self.capped else str(self.number)


def list_tasks(
    app: FlaskCelery, chosen: Filter | None = None, *, cursor: str | None = None, limit: int = PAGE
) -> Page:
    """The newest tasks that are chosen, without results and tracebacks.

    :param cursor: :attr:`Page.next` of the part before
    :param limit: how many, 500 at most
    :raises InvalidRequestError: the cursor, the limit or a state is none
    :raises RecordsDisabledError: nothing is recorded
    """
    chosen = _checked(chosen)
    if not 1 <= limit <= LARGEST_PAGE:
        raise InvalidRequestError(f"limit: give a number from 1 to {LARGEST_PAGE}, not {limit}")
    after = _place(cursor)
    sources = sources_of(app)
    # One more than is shown says whether there is a next part.
    queued, queue_reached = _queued(app, sources, chosen, after, limit + 1)
    recorded, reached = _recorded(app, sources, chosen, after, limit + 1)
    tasks = sorted({**recorded, **queued}.values(), key=_order, reverse=True)
    # Beyond where one of the two stopped, the other may not go on.
    stops = [place for place in (queue_reached, reached) if place is not None]
    if stops:
        stop = max(stops)
        tasks = [task for task in tasks if _order(task) >= stop]
    if len(tasks) > limit or (stops and len(tasks) == limit):
        return Page(tasks[:limit], _cursor(_order(tasks[limit - 1])))
    if stops:
        return Page(tasks, _cursor(max(stops)), searched_all=False)
    return Page(tasks, None)


def _order(task: TaskRecord) -> tuple[float, str]:
    return task.created, task.id


def _queued(
    app: FlaskCelery,
    sources: Sources,
    chosen: Filter,
    after: tuple[float, str] | None,
    limit: int,
) -> tuple[dict[str, TaskRecord], tuple[float, str] | None]:
    """The tasks in the embedded queue, each with what its record adds."""
    wanted = chosen.only(*states.OPEN) if chosen.states else chosen
    if sources.queue is None or wanted is None:
        return {}, None
    theirs, _ = _had_by(sources, chosen.worker)
    with sources.queue.connection() as db:
        shows = searching.of_messages(app, wanted)
        messages, reached = queue_queries.list_messages(
            db, wanted, after, limit, shows, recorded=theirs
        )
    found = {message.task_id: reading.of_message(app, message) for message in messages}
    with sources.engine.connect() as connection:
        rows = task_queries.find_tasks(connection, found)
    for task_id, row in rows.items():
        task = reading.merged(found[task_id], reading.of_row(app, row))
        # Its place in the list is the message's: that is what the next page goes on from.
        found[task_id] = replace(task, created=found[task_id].created)
        if task.state not in (chosen.states or states.STATES):
            del found[task_id]
    if reached is None and len(messages) == limit > len(found):  # which have ended meanwhile
        reached = messages[-1].created, messages[-1].task_id
    return found, reached


def _had_by(sources: Sources, worker: str | None) -> tuple[list[str], bool]:
    """The open tasks whose records say that a worker had them last.

    Those among them that wait, as for another attempt, are in the queue without its name.

    :return: their ids, and whether these are all
    """
    if worker is None:
        return [], True
    with sources.engine.connect() as connection:
        return task_queries.open_of_worker(connection, worker)


def _recorded(
    app: FlaskCelery,
    sources: Sources,
    chosen: Filter,
    after: tuple[float, str] | None,
    limit: int,
) -> tuple[dict[str, TaskRecord], task_queries.Place | None]:
    """The tasks that are recorded, but for those that are in the embedded queue."""
    place = None if after is None else task_queries.Place(*after)
    shows, found = searching.of_rows(app, chosen), dict[str, TaskRecord]()
    # Of what a look finds, the queue may have all: there may be more all the same.
    for _ in range(LOOKS):
        with sources.engine.connect() as connection:
            rows = task_queries.list_tasks(connection, chosen, place, limit, shows)
        found |= _unless_queued(sources, [reading.of_row(app, row) for row in rows.found])
        place = rows.reached
        if len(found) >= limit or len(rows.found) < limit:
            break
        place = task_queries.Place(rows.found[-1].created, rows.found[-1].task_id)
    return found, place


def _unless_queued(sources: Sources, tasks: list[TaskRecord]) -> dict[str, TaskRecord]:
    found = {task.id: task for task in tasks}
    if sources.queue is not None:
        still = [task.id for task in tasks if not task.ended]
        with sources.queue.connection() as db:
            for task_id in queue_queries.find_messages(db, still):
                del found[task_id]
    return found


def count(app: FlaskCelery, chosen: Filter | None = None, *, cap: int = COUNT_CAP) -> Count:
    """How many tasks are chosen.

    :param cap: count no further
    :raises InvalidRequestError: a state is none
    :raises RecordsDisabledError: nothing is recorded
    """
    chosen = _checked(chosen)
    sources = sources_of(app)
    number, complete = 0, True
    recorded: Filter | None = chosen
    if sources.queue is not None:
        wanted = chosen.only(*states.OPEN) if chosen.states else chosen
        if wanted is not None:
            theirs, all_of_them = _had_by(sources, chosen.worker)
            with sources.queue.connection() as db:
                shows = searching.of_messages(app, wanted)
                number, complete = queue_queries.count_messages(
                    db, wanted, cap, shows, recorded=theirs
                )
            complete = complete and all_of_them
        recorded = chosen.only(*states.ENDED)
    if recorded is not None and number <= cap:
        with sources.engine.connect() as connection:
            told = searching.of_rows(app, recorded)
            more, all_of_them = task_queries.count_tasks(connection, recorded, cap, told)
        number, complete = number + more, complete and all_of_them
    return Count(min(number, cap), number > cap or not complete)


def _checked(chosen: Filter | None) -> Filter:
    chosen = chosen or Filter()
    for state in chosen.states:
        if state not in states.STATES:
            known = ", ".join(states.STATES)
            raise InvalidRequestError(f"state: there is no state {state!r}: they are {known}")
    return chosen


def _cursor(place: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _place(cursor: str | None) -> tuple[float, str] | None:
    if not cursor:
        return None
    try:
        created, task_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        place = float(created), str(task_id)
        place[1].encode()  # ValueError for half of a character
        if not math.isfinite(place[0]) or "\0" in place[1]:
            raise ValueError
        return place
    except (binascii.Error, ValueError, TypeError, RecursionError, OverflowError):
        raise InvalidRequestError(
            "cursor: it is none that a list gave out: begin the list anew without one"
        ) from None
