"""A small DBAPI (PEP 249) over APSW, for SQLAlchemy to reach our SQLite file through.

The standard library's ``sqlite3`` would be a second SQLite library on the same file, and the
two would drop each other's locks. It differs from ``sqlite3`` in one way: a transaction begins
with the first statement that writes, as ``BEGIN IMMEDIATE``, so that it can never fail by having
to upgrade from reading to writing; reads outside of one see the latest commit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import apsw

from . import fork_gate
from .sqlite import file_at
from .sqlite_errors import DAMAGED, explain

apilevel = "2.0"
threadsafety = 1
paramstyle = "qmark"
sqlite_version = apsw.sqlite_lib_version()
sqlite_version_info = tuple(int(part) for part in sqlite_version.split("."))

Binary = bytes
_SYNCHRONOUS = "NORMAL"
#: Before these, no transaction is begun.
_READS = ("SELECT", "PRAGMA", "EXPLAIN", "VALUES", "BEGIN")


class Warning(Exception):  # noqa: A001 - PEP 249's name
    """PEP 249."""


class Error(Exception):
    """PEP 249: the base of the errors below."""


class InterfaceError(Error):
    """PEP 249: wrong use of this module."""


class DatabaseError(Error):
    """PEP 249: an error of the database."""


class DataError(DatabaseError):
    """PEP 249: a value that does not fit."""


class OperationalError(DatabaseError):
    """PEP 249: busy, full, unreadable or the like."""


class IntegrityError(DatabaseError):
    """PEP 249: a constraint was violated."""


class InternalError(DatabaseError):
    """PEP 249: the database is in a state it should not be in."""


class ProgrammingError(DatabaseError):
    """PEP 249: wrong SQL."""


class NotSupportedError(DatabaseError):
    """PEP 249: not offered by SQLite."""


_KINDS: tuple[tuple[type[Exception], type[DatabaseError]], ...] = (
    (apsw.ConstraintError, IntegrityError),
    (apsw.TooBigError, DataError),
    (apsw.MismatchError, DataError),
    (apsw.CorruptError, InternalError),
    (apsw.NotADBError, InternalError),
    (apsw.SQLError, OperationalError),
    (apsw.BindingsError, ProgrammingError),
)


def _translated(error: apsw.Error, path: str) -> DatabaseError:
    kind = next((to for source, to in _KINDS if isinstance(error, source)), OperationalError)
    return kind(str(explain(error, path)))


def connect(path: str) -> Connection:
    """A connection for SQLAlchemy.

    :param path: absolute path of the file; it is opened by the first statement.
    """
    return Connection(path)


class Connection:
    """PEP 249's connection, with the two extras SQLAlchemy's dialect for ``sqlite3`` uses.

    It has one of the process's connections to the file only while a statement or a transaction
    goes on: between them there is nothing that a fork could take along.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.isolation_level: str | None = ""
        self._file = file_at(path)
        self._raw: apsw.Connection | None = None

    def cursor(self) -> Cursor:
        """A new cursor."""
        return Cursor(self)

    def create_function(self, *_: Any, **__: Any) -> None:
        """Nothing: SQLAlchemy offers a ``REGEXP`` so, which no statement of ours has."""

    def run(
        self, sql: str, parameters: Sequence[Any], many: Iterable[Any] | None
    ) -> tuple[list[tuple[Any, ...]], Any, int, int]:
        """Run a statement to its end: its rows, description, row count and last row id."""
        raw = self._raw or self._take()
        try:
            begun = raw.in_transaction or self.isolation_level is None
            if not begun and not sql.lstrip()[:7].upper().startswith(_READS):
                raw.execute("BEGIN IMMEDIATE")
            return self._execute(raw, sql, parameters, many)
        except apsw.Error as error:
            self._give_back(error, ended=isinstance(error, DAMAGED))
            raise _translated(error, self.path) from error
        finally:
            self._give_back()

    def _execute(
        self,
        raw: apsw.Connection,
        sql: str,
        parameters: Sequence[Any],
        many: Iterable[Any] | None,
    ) -> tuple[list[tuple[Any, ...]], Any, int, int]:
        before = raw.total_changes()
        cursor = raw.cursor()
        try:
            if many is None:
                cursor.execute(sql, tuple(parameters))
            else:
                cursor.executemany(sql, many)
            try:
                described = cursor.get_description()
            except apsw.ExecutionCompleteError:  # no row came
                described = _describe(raw, sql, parameters) if many is None else ()
            rows = cursor.fetchall()
        finally:
            cursor.close(force=True)  # or what was interrupted goes on reading
        columns = tuple((name, *[None] * 6) for name, _ in described) or None
        return rows, columns, raw.total_changes() - before, raw.last_insert_rowid()

    def commit(self) -> None:
        """Commit the open transaction, if there is one."""
        self._end("COMMIT")

    def rollback(self) -> None:
        """Roll the open transaction back, if there is one."""
        self._end("ROLLBACK")

    def close(self) -> None:
        """Roll back."""
        try:
            self.rollback()
        finally:
            self._give_back(ended=True)

    def _end(self, verb: str) -> None:
        try:
            if self._raw is not None and self._raw.in_transaction:
                self._raw.execute(verb)
        except apsw.Error as error:
            self._give_back(error, ended=isinstance(error, DAMAGED))
            raise _translated(error, self.path) from error
        finally:
            self._give_back()

    def _take(self) -> apsw.Connection:
        fork_gate.enter()
        try:
            self._raw = self._file.acquire(_SYNCHRONOUS)
        except BaseException:
            fork_gate.leave()
            raise
        return self._raw

    def _give_back(self, error: BaseException | None = None, *, ended: bool = False) -> None:
        """Unless a transaction goes on that may be ended still."""
        raw = self._raw
        if raw is None or (raw.in_transaction and not ended):
            return
        self._raw = None
        try:
            self._file.take_back(raw, _SYNCHRONOUS, error)
        finally:
            fork_gate.leave()


def _describe(
    raw: apsw.Connection, sql: str, parameters: Sequence[Any]
) -> tuple[tuple[str, str], ...]:
    """The columns a statement would have had rows of; it is prepared, but not run."""
    described: tuple[tuple[str, str], ...] = ()

    def note(cursor: apsw.Cursor, *_: Any) -> bool:
        nonlocal described
        described = cursor.get_description()
        return False

    cursor = raw.cursor()
    cursor.exec_trace = note
    with contextlib.suppress(apsw.ExecTraceAbort):
        cursor.execute(sql, tuple(parameters))
    return described


class Cursor:
    """PEP 249's cursor; a statement's rows are all fetched when it runs."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.arraysize = 1
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self._rows: list[tuple[Any, ...]] = []
        self._next = 0

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Cursor:
        """Run a statement."""
        return self._take(sql, self.connection.run(sql, parameters, None))

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> Cursor:
        """Run a statement once for each set of parameters."""
        return self._take(sql, self.connection.run(sql, (), [tuple(p) for p in parameters]))

    def _take(self, sql: str, outcome: tuple[list[tuple[Any, ...]], Any, int, int]) -> Cursor:
        self._rows, self.description, changes, self.lastrowid = outcome
        self.rowcount = -1 if sql.lstrip()[:7].upper().startswith(_READS) else changes
        self._next = 0
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, or None."""
        if self._next >= len(self._rows):
            return None
        self._next += 1
        return self._rows[self._next - 1]

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """The next rows."""
        start = self._next
        self._next = min(len(self._rows), start + (size or self.arraysize))
        return self._rows[start : self._next]

    def fetchall(self) -> list[tuple[Any, ...]]:
        """The rows that are left."""
        start, self._next = self._next, len(self._rows)
        return self._rows[start:]

    def setinputsizes(self, sizes: Any) -> None:
        """PEP 249: nothing to do."""

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """PEP 249: nothing to do."""

    def close(self) -> None:
        """Forget the rows."""
        self._rows = []
