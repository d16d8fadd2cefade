"""The records' SQL. Every function takes the connection first and never commits.

Storing and finding a record, which every task does, come twice: through SQLAlchemy, and, on the
embedded file, as the same statement compiled once and run by APSW, at a tenth of the time and in
whatever transaction the broker has open there.
"""

from __future__ import annotations

import functools
import time
from json import dumps
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    bindparam,
    case,
    delete,
    literal_column,
    select,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from ..database import group, record

if TYPE_CHECKING:
    import apsw

#: A task that succeeded once has succeeded: what a second run of it says later changes nothing.
_FINAL: ColumnElement[str] = literal_column("'SUCCESS'")
_COLUMNS = [column.name for column in record.columns if column.name != "task_id"]


class Record(NamedTuple):
    """What is stored of a task, in the order of the table's columns."""

    task_id: str
    state: str
    result: str | None
    traceback: str | None
    children: str | None
    details: str | None
    finished: float | None
    updated: float


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
_select = select(*record.c).where(record.c.task_id == bindparam("id"))


def store(connection: Connection, values: dict[str, Any]) -> None:
    """Write the state of a task, unless it has succeeded already.

    :param values: one for each column of :data:`flask_celeriac.database.record`.
    """
    name = connection.dialect.name
    if name not in _statements:
        _statements[name] = _upsert_record(name)
    connection.execute(_statements[name], values)


def find(connection: Connection, task_id: str) -> Record | None:
    """The record of a task, or None."""
    row = connection.execute(_select, {"id": task_id}).first()
    return None if row is None else Record(*row)


def store_embedded(db: apsw.Connection, values: dict[str, Any]) -> None:
    """:func:`store`, on the embedded file."""
    db.execute(_embedded_sql()[0], values)


def find_embedded(db: apsw.Connection, task_id: str) -> Record | None:
    """:func:`find`, on the embedded file."""
    row = db.execute(_embedded_sql()[1], {"id": task_id}).fetchone()
    return None if row is None else Record(*row)


@functools.cache
def _embedded_sql() -> tuple[str, str]:
    dialect = sqlite.dialect(paramstyle="named")
    return (
        str(_upsert_record("sqlite").compile(dialect=dialect)),
        str(_select.compile(dialect=dialect)),
    )


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


def in_queue(db: apsw.Connection, task_id: str) -> bool | None:
    """Whether a message of the embedded broker is a task, or will become it.

    The members of a chain, the body of a chord and what takes a replaced task's place travel in the
    body of the message before them.

    :return: None where a message cannot be read, because it is compressed or pickled.
    """
    (answer,) = db.execute(_IN_QUEUE, (task_id, dumps(task_id)[1:-1])).fetchall()[0]
    return None if answer is None else bool(answer)


_IN_QUEUE = """
    SELECT CASE
        WHEN EXISTS (SELECT 1 FROM message WHERE task_id = ?1 OR instr(body, ?2)) THEN 1
        WHEN EXISTS (SELECT 1 FROM message WHERE typeof(body) = 'blob') THEN NULL
        ELSE 0
    END
"""
