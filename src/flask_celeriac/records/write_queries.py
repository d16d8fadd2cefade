"""The SQL that writes records. Every function takes the connection first and never commits.

One statement a transition: it adds the record of a task, or brings the one there is to its next
state, if that may follow. Every task ends in one of these, so they are compiled once, and on the
embedded file run by APSW, in whatever transaction the broker has open there.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.sql.dml import Insert, Update

from .. import states
from ..tables import record

if TYPE_CHECKING:
    import apsw

#: What a task is from its beginning: once known, it stays.
_IDENTITY = {
    *("name", "queue", "priority", "arguments", "created", "root_id", "parent_id", "group_id"),
    *("chord_id", "retry_of", "schedule", "labels", "request_id", "trace_id"),
}
#: What belongs to one state, and goes with it.
_OF_STATE = (
    *("result", "traceback", "children", "details", "finished"),
    *("error_type", "error_message", "error_fingerprint"),
)
#: What belongs to one run of a task: the rest of its record stays as it is while that goes on.
_OF_RUN = (
    *("worker", "started", "attempts", "updated"),
    *("progress_current", "progress_total", "progress_message"),
)
#: What a message in the embedded queue knows better than whoever runs its task.
_OF_MESSAGE = {
    "queue": "m.queue",
    "priority": "m.priority",
    "created": "m.created",
    "arguments": "coalesce(:arguments, CASE WHEN typeof(m.body) = 'text'"
    " AND length(m.body) <= :longest THEN m.body END)",
}
#: And of a task that succeeded at its first attempt, where a message is all there is.
_OF_SUCCESS = {
    **dict.fromkeys(("task_id", "status", "result", "worker", "started", "finished")),
    "name": "m.task",
    "state": f"'{states.SUCCEEDED}'",
    "attempts": "1",
    "arguments": _OF_MESSAGE["arguments"].replace(":arguments", "NULL"),
    "updated": ":finished",
}
#: What every statement has; the others only if there is something to write.
_ALWAYS = ("task_id", "state", "status", "queue", "priority", "created", "arguments", "updated")
_UNKNOWN = dict.fromkeys(_ALWAYS)
#: Seconds between two moments that are the same, written and read.
_SAME = 1e-6


def write(
    connection: Connection,
    values: dict[str, Any],
    claim: tuple[int, int] | None = None,
    longest: int = -1,
) -> bool:
    """Write the state of a task, if it may follow the one that is recorded.

    :param values: by the names of the columns; what is left out or None is not known.
    :param claim: on the embedded file, the message and the claim of it that have to be held by
        whoever writes this.
    :param longest: characters of a message's body that are kept as arguments, none if negative.
    :return: whether anything was written.
    """
    bound = _bound(values)
    if claim is not None:
        sql, ordered = _guarded(bound, values["state"], claim, longest)
        return connection.exec_driver_sql(sql, ordered).rowcount > 0
    statement = _statement(connection.dialect.name, tuple(bound), values["state"])
    # SQLAlchemy forgets it on PostgreSQL, where it has an INSERT return the row's number.
    counted = {"preserve_rowcount": True}
    found = connection.execute(statement, bound, execution_options=counted)
    if connection.dialect.name not in ("mysql", "mariadb"):
        return found.rowcount > 0
    # There a row counts that was found and left as it is; one that was changed counts twice.
    return found.rowcount > 1 or _is_written(connection, bound)


def _is_written(connection: Connection, bound: dict[str, Any]) -> bool:
    mine = select(record.c.state, record.c.updated).where(record.c.task_id == bound["task_id"])
    row = connection.execute(mine).first()
    same = row is not None and row.state == bound["state"]
    return same and abs(row.updated - bound["updated"]) < _SAME  # type: ignore[union-attr]


def write_embedded(
    db: apsw.Connection,
    values: dict[str, Any],
    claim: tuple[int, int] | None = None,
    longest: int = -1,
) -> bool:
    """:func:`write`, on the embedded file without SQLAlchemy."""
    bound = _bound(values)
    if claim is None:
        db.execute(_plain_sql(tuple(bound), values["state"]), bound)
    else:
        db.execute(*_guarded(bound, values["state"], claim, longest))
    return db.changes() > 0


class Success(NamedTuple):
    """The success of a task that has nothing to say but that, in the order of what is bound.

    :param message: the message, and in ``claim`` the claim of it, that have to be held
    :param status: what a result backend answers with, as ``result``; None if nothing
    :param longest: as :func:`write` takes it
    """

    message: int
    claim: int
    #: A message that somebody wrote into the file by hand may not have it in its row.
    task_id: str
    status: str | None
    result: str | None
    worker: str | None
    started: float | None
    finished: float
    longest: int


def write_successes(db: apsw.Connection, ended: Sequence[Success]) -> bool:
    """:func:`write_embedded` many that succeeded at their first attempt, in one statement.

    :return: False if any of them was not written
    """
    before = db.total_changes()
    db.executemany(_success_sql(), ended)
    return db.total_changes() - before == len(ended)


def write_progress(connection: Connection, values: dict[str, Any]) -> bool:
    """Write how far a running task says it is; its record begins with that if it has none.

    :param values: as :func:`write` takes them, in the state ``"running"``.
    :return: whether anything was written.
    """
    statement = _progress(_progress_columns(values))
    if connection.execute(statement, {**values, "of": values["task_id"]}).rowcount > 0:
        return True
    return write(connection, values)


def write_progress_embedded(
    db: apsw.Connection,
    values: dict[str, Any],
    claim: tuple[int, int] | None = None,
    longest: int = -1,
) -> bool:
    """:func:`write_progress`, on the embedded file; parameters as of :func:`write`."""
    sql = _embedded_progress(_progress_columns(values), claim is not None)
    message, held = claim or (None, None)
    db.execute(sql, {**values, "of": values["task_id"], "message": message, "claim": held})
    return db.changes() > 0 or write_embedded(db, values, claim, longest)


def _progress_columns(values: dict[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in _OF_RUN if values.get(name) is not None)


def _bound(values: dict[str, Any]) -> dict[str, Any]:
    """What is written, by the names of the columns."""
    known = {name: value for name, value in values.items() if value is not None}
    bound = _UNKNOWN | known
    if bound["created"] is None:
        bound["created"] = bound["updated"]
    return bound


_NAMES = [column.name for column in record.columns if column.name != "id"]


@functools.cache
def _statement(dialect: str, columns: tuple[str, ...], state: str) -> Insert:
    values: dict[str, Any] = {name: bindparam(name) for name in columns}
    sources: list[ColumnElement[str]] = [
        literal_column(f"'{source}'") for source in states.sources(state)
    ]
    allowed: ColumnElement[bool] = record.c.state.in_(sources)
    if "run" in columns and state != states.RUNNING:  # the run that is recorded ends the task
        mine = or_(record.c.run.is_(None), record.c.run == bindparam("run"))
        allowed = and_(allowed, mine)
    if dialect in ("mysql", "mariadb"):
        insert = mysql.insert(record).values(values)
        # In order: MySQL sees the columns assigned before, so the one tested comes last.
        names = [name for name in _set_columns(columns) if name != "state"] + ["state"]
        return insert.on_duplicate_key_update(
            [
                (name, case((allowed, _new(name, columns, insert.inserted)), else_=record.c[name]))
                for name in names
            ]
        )
    upsert = (postgresql if dialect == "postgresql" else sqlite).insert(record).values(values)
    conflict: Insert = upsert.on_conflict_do_update(
        index_elements=["task_id"],
        set_={name: _new(name, columns, upsert.excluded) for name in _set_columns(columns)},
        where=allowed,
    )
    return conflict


def _set_columns(columns: tuple[str, ...]) -> list[str]:
    given = {*columns, *_OF_STATE} - {"task_id"}
    return [name for name in _NAMES if name in given]


def _new(name: str, columns: tuple[str, ...], excluded: Any) -> Any:
    """What a column of a record that is there becomes."""
    if name not in columns:
        return null()
    if name in _IDENTITY:
        return func.coalesce(record.c[name], excluded[name])
    if name == "eta":  # of the last attempt, which may be written of before the one it repeats
        return case((record.c.eta > excluded.eta, record.c.eta), else_=excluded.eta)
    return excluded[name]


def _guarded(
    bound: dict[str, Any], state: str, claim: tuple[int, int], longest: int
) -> tuple[str, tuple[Any, ...]]:
    """A statement that needs the claim to be held, and what is bound to it."""
    sql, names = _guarded_sql(tuple(bound), state)
    held = {**bound, "message": claim[0], "claim": claim[1], "longest": longest}
    return sql, tuple([held[name] for name in names])


@functools.cache
def _plain_sql(columns: tuple[str, ...], state: str) -> str:
    dialect = sqlite.dialect(paramstyle="named")
    return str(_statement("sqlite", columns, state).compile(dialect=dialect))


@functools.cache
def _guarded_sql(columns: tuple[str, ...], state: str) -> tuple[str, tuple[str, ...]]:
    sql = _from_message(_plain_sql(columns, state), _OF_MESSAGE)
    names = tuple(dict.fromkeys(re.findall(r":(\w+)", sql)))
    return _by_place(sql, names), names


@functools.cache
def _success_sql() -> str:
    known = {name: source for name, source in _OF_SUCCESS.items() if source is not None}
    plain = _plain_sql(tuple(_UNKNOWN | _OF_SUCCESS), states.SUCCEEDED)
    return _by_place(_from_message(plain, _OF_MESSAGE | known), Success._fields)


def _from_message(plain: str, sources: dict[str, str]) -> str:
    """The same statement with values from the message whose claim is held."""
    before, values, after = re.split(r"VALUES \((.*?)\)", plain, maxsplit=1)
    for name, source in sources.items():
        values = re.sub(rf":{name}\b", source, values, count=1)
    held = "FROM message m WHERE m.id = :message AND m.claim = :claim"
    return f"{before}SELECT {values} {held}{after}"


def _by_place(sql: str, names: Sequence[str]) -> str:
    """The same statement with places for what was named: faster to bind."""
    return re.sub(r":(\w+)", lambda found: f"?{names.index(found[1]) + 1}", sql)


@functools.cache
def _progress(columns: tuple[str, ...]) -> Update:
    running: ColumnElement[str] = literal_column(f"'{states.RUNNING}'")
    return (
        update(record)
        .where(record.c.task_id == bindparam("of"), record.c.state == running)
        .values({name: bindparam(name) for name in columns})
    )


@functools.cache
def _embedded_progress(columns: tuple[str, ...], claimed: bool) -> str:
    sql = str(_progress(columns).compile(dialect=sqlite.dialect(paramstyle="named")))
    held = " AND EXISTS (SELECT 1 FROM message WHERE id = :message AND claim = :claim)"
    return sql + held if claimed else sql
