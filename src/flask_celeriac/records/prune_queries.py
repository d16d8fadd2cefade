"""The SQL that deletes what is old, in small batches. No function commits."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, select, tuple_

from .. import states
from ..tables import attempt, audit, dead_letter, idempotency, record


def prune(connection: Connection, state: str, before: float, batch: int) -> int:
    """Delete up to ``batch`` records that ended in this state before a moment.

    :return: how many.
    """
    old = _old(state, before, record.c.id, record.c.task_id).order_by(record.c.created)
    rows = connection.execute(old.limit(batch)).all()
    if rows:
        connection.execute(delete(record).where(record.c.id.in_([row.id for row in rows])))
        ids = [row.task_id for row in rows]
        for table in (attempt, dead_letter) if state == states.DEAD else (attempt,):
            connection.execute(delete(table).where(table.c.task_id.in_(ids)))
    return len(rows)


def count_prunable(connection: Connection, state: str, before: float, most: int) -> int:
    """How many records :func:`prune` would delete of this state, counting no further than that."""
    old = _old(state, before, record.c.id).limit(most)
    return connection.execute(select(func.count()).select_from(old.subquery())).scalar_one()


def _old(state: str, before: float, *columns: ColumnElement[Any]) -> Select[Any]:
    # None ended before it was made: this is what the index of the states knows.
    ended = (record.c.state == state, record.c.created < before, record.c.updated < before)
    return select(*columns).where(*ended)


def prune_audit(connection: Connection, before: float, batch: int) -> int:
    """Delete up to ``batch`` notes of changes that were made before a moment; how many."""
    old = select(audit.c.id).where(audit.c.at < before).order_by(audit.c.at).limit(batch)
    ids = connection.execute(old).scalars().all()
    if ids:
        connection.execute(delete(audit).where(audit.c.id.in_(ids)))
    return len(ids)


def prune_keys(connection: Connection, before: float, batch: int) -> int:
    """Delete up to ``batch`` keys of requests that came before a moment; how many."""
    c = idempotency.c
    old = select(c.scope, c.key).where(c.created < before).order_by(c.created).limit(batch)
    keys = connection.execute(old).all()
    if keys:
        # A key that somebody took anew meanwhile stays.
        mine = and_(tuple_(c.scope, c.key).in_([tuple(row) for row in keys]), c.created < before)
        connection.execute(delete(idempotency).where(mine))
    return len(keys)
