"""The records' SQL. Every function takes the connection first and never commits."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, Row, Table, bindparam, case, delete, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from ..database import group, record

#: A task that succeeded once has succeeded: what a second run of it says later changes nothing.
_FINAL = "SUCCESS"
_COLUMNS = [column.name for column in record.columns if column.name != "task_id"]


def _upsert_record(name: str) -> Insert:
    """The one statement that stores a state, in the words of a dialect."""
    values: dict[str, Any] = {column: bindparam(column) for column in ["task_id", *_COLUMNS]}
    if name in ("mysql", "mariadb"):
        insert = mysql.insert(record).values(values)
        # In order: MySQL sees the columns assigned before, so the one tested comes last.
        columns = [column for column in _COLUMNS if column != "state"] + ["state"]
        return insert.on_duplicate_key_update(
            [
                (c, case((record.c.state == _FINAL, record.c[c]), else_=insert.inserted[c]))
                for c in columns
            ]
        )
    upsert = (postgresql if name == "postgresql" else sqlite).insert(record).values(values)
    conflict: Insert = upsert.on_conflict_do_update(
        index_elements=["task_id"],
        set_={column: upsert.excluded[column] for column in _COLUMNS},
        where=record.c.state != _FINAL,
    )
    return conflict


_statements: dict[str, Insert] = {}
_select = select(*(record.c[name] for name in ["task_id", *_COLUMNS])).where(
    record.c.task_id == bindparam("id")
)


def store(connection: Connection, values: dict[str, Any]) -> None:
    """Write the state of a task, unless it has succeeded already.

    :param values: one for each column of :data:`flask_celeriac.database.record`.
    """
    name = connection.dialect.name
    if name not in _statements:
        _statements[name] = _upsert_record(name)
    connection.execute(_statements[name], values)


def find(connection: Connection, task_id: str) -> Row[Any] | None:
    """The record of a task, or None."""
    return connection.execute(_select, {"id": task_id}).first()


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


def expire(connection: Connection, before: float) -> None:
    """Delete what was last written before a moment, in seconds since the epoch."""
    _delete_before(connection, record, "updated", before)
    _delete_before(connection, group, "created", before)


def _delete_before(connection: Connection, table: Table, column: str, before: float) -> None:
    connection.execute(delete(table).where(table.c[column] < before))
