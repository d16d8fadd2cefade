"""The SQL that decides whether a task may run, and keeps those that may not.

Functions take the connection first and never commit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, delete, insert, or_, select, update

from .. import states
from ..tables import dead_letter, record

#: Seconds between two moments that are the same, written and read.
_SAME = 1e-6


class Standing(NamedTuple):
    """Where a task is, as far as that decides about its next run.

    :param attempts: the number of the attempt that was begun last
    :param run: what tells the run that is at it from others
    :param crashes: how many runs in a row were cut off by the death of their process
    :param error_type: null in ``retrying`` until the attempt before has come to its end
    """

    state: str
    attempts: int
    run: str | None
    crashes: int
    error_type: str | None

    def goes_on(self, attempt: int) -> bool:
        """Whether a run of this attempt was begun, and its end is not known."""
        return self.state == states.RUNNING and bool(self.run) and self.attempts == attempt

    def is_over(self, attempt: int, *, again: bool) -> bool:
        """Whether an attempt is not to be run.

        What failed is over as well as what succeeded: its message came again because its worker
        died between the failure and the acknowledgement.

        :param attempt: its number, 1 for the first
        :param again: its message may be one that was here before; the sender of one that was not
            may have chosen an id that was in use, which is for him to know
        """
        if self.state in (states.REVOKED, states.DEAD):
            return True
        if not again:
            return False
        if self.attempts != attempt:
            return self.attempts > attempt
        repeated = self.state == states.RETRYING and self.error_type is not None
        return repeated or self.state in states.ENDED


class Open(NamedTuple):
    """A task that has not ended, and when something was last written of it."""

    task_id: str
    name: str | None
    queue: str | None
    state: str
    updated: float


_STANDING = [record.c[name] for name in Standing._fields]


def standing(connection: Connection, task_id: str, *, alone: bool = False) -> Standing | None:
    """Where a task is, None where nothing is recorded of it.

    :param alone: nobody else may write that until the transaction ends
    """
    found = select(*_STANDING).where(record.c.task_id == task_id)
    row = connection.execute(found.with_for_update() if alone else found).first()
    return None if row is None else Standing(*row)


def in_state(connection: Connection, ids: Iterable[str], state: str) -> list[str]:
    """Those of some tasks that are recorded in a state."""
    mine = record.c.task_id.in_(list(ids))
    found = connection.execute(select(record.c.task_id).where(mine, record.c.state == state))
    return list(found.scalars())


def newest(connection: Connection, state: str, since: float, limit: int) -> list[str]:
    """The tasks in a state that were sent last, since a moment."""
    these = select(record.c.task_id).where(record.c.state == state, record.c.created >= since)
    return list(connection.execute(these.order_by(record.c.created.desc()).limit(limit)).scalars())


def open_tasks(connection: Connection, before: float, limit: int) -> list[Open]:
    """Tasks that have not ended and of which nothing was written since a moment, oldest first.

    Those that run are among them only if their run was begun where it is told from others.
    """
    told_apart = or_(record.c.state != states.RUNNING, record.c.run.is_not(None))
    these = (
        select(*(record.c[name] for name in Open._fields))
        .where(record.c.state.in_(states.OPEN), record.c.updated < before, told_apart)
        .order_by(record.c.created)
        .limit(limit)
    )
    return [Open(*row) for row in connection.execute(these)]


def take_over(connection: Connection, task: Open, now: float) -> bool:
    """Take it on to send a task again; False where it has changed, as others may have done so."""
    mine = and_(
        record.c.task_id == task.task_id,
        record.c.state == task.state,
        record.c.updated.between(task.updated - _SAME, task.updated + _SAME),
    )
    taken = update(record).where(mine).values(state=states.QUEUED, updated=now)
    return bool(connection.execute(taken).rowcount)


def leave(connection: Connection, task_id: str, run: str, now: float) -> None:
    """A run has ended without a word of how, and nobody has sent its task again."""
    mine = and_(record.c.task_id == task_id, record.c.state == states.RUNNING, record.c.run == run)
    ended = {"state": states.SUCCEEDED, "finished": now, "updated": now}
    connection.execute(update(record).where(mine).values(ended))


def forget_run(connection: Connection, task_id: str) -> None:
    """The run that the record tells of is at an end, and another one is to begin."""
    mine = and_(record.c.task_id == task_id, record.c.state == states.RUNNING)
    connection.execute(update(record).where(mine).values(worker=None, started=None))


def tell_run(connection: Connection, task_id: str, run: dict[str, Any]) -> None:
    """Say of a task that was taken back which run of it was ended, unless that is known.

    :param run: its ``worker``, ``started`` and ``attempts``
    """
    c = record.c
    mine = (c.task_id == task_id, c.state == states.REVOKED, c.attempts <= run["attempts"])
    unknown = or_(c.started.is_(None), c.started < run["started"])
    told = {name: run[name] for name in ("worker", "started", "attempts")}
    connection.execute(update(record).where(*mine, unknown).values(told))


def put_letter(connection: Connection, values: dict[str, Any]) -> None:
    """Store a message as it came, in the place of an older one of its task."""
    connection.execute(delete(dead_letter).where(dead_letter.c.task_id == values["task_id"]))
    connection.execute(insert(dead_letter).values(values))


def is_claimed(connection: Connection, task_id: str) -> bool:
    """Whether a message under a task's id was put away, its signature not being right."""
    said = dead_letter.c.headers.contains(f'"id": {json.dumps(task_id)}', autoescape=True)
    letter = select(dead_letter.c.task_id).where(dead_letter.c.reason == "signature", said)
    return connection.execute(letter.limit(1)).first() is not None


def find_letter(connection: Connection, task_id: str) -> Row[Any] | None:
    """The message of a dead task."""
    mine = select(*dead_letter.c).where(dead_letter.c.task_id == task_id)
    return connection.execute(mine).first()
