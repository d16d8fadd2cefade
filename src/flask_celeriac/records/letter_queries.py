"""The SQL of dead letters. Functions take the connection first and never commit."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from ..tables import dead_letter, record


def put_letter(connection: Connection, values: dict[str, Any]) -> None:
    """Store a message as it came, in the place of an older one of its task."""
    connection.execute(delete(dead_letter).where(dead_letter.c.task_id == values["task_id"]))
    connection.execute(insert(dead_letter).values(values))


def find_letter(connection: Connection, task_id: str) -> Row[Any] | None:
    """The message of a dead task."""
    mine = select(*dead_letter.c).where(dead_letter.c.task_id == task_id)
    return connection.execute(mine).first()


def state_of(connection: Connection, task_id: str) -> str | None:
    """The state of a task's record, None where there is none."""
    found: str | None = connection.execute(
        select(record.c.state).where(record.c.task_id == task_id)
    ).scalar()
    return found
