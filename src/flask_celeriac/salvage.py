"""What can be read of a damaged file, copied into a new one."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import apsw

from .errors import StorageError
from .sqlite import File
from .sqlite_errors import explain

#: Tables that speak of processes, all of which have ended, and of versions.
_LEFT_OUT = frozenset({"process", "consumer", "celeriac_schema", "celeriac_alembic_version"})
#: Whose message it was: nobody's any more, so it runs again.
_FORGOTTEN = frozenset({"claim"})
#: How reading damaged pages fails.
_UNREADABLE = (apsw.CorruptError, apsw.NotADBError, apsw.IOError, apsw.SQLError, UnicodeDecodeError)
#: Attempts for each table at what lies between damaged pages.
ATTEMPTS = 20_000
#: The highest row number looked for where not even that can be read.
_HIGHEST = 2**24


class Copied(NamedTuple):
    """What came out of a damaged file.

    :param rows: how many came into each table
    :param incomplete: the tables of which not every row could be read
    :param read: how many rows could be, of which some may have been there before
    """

    rows: dict[str, int]
    incomplete: list[str]
    read: int


class Table(NamedTuple):
    """A table as both files have it."""

    name: str
    columns: tuple[str, ...]
    #: What its rows are sorted by.
    order: str
    #: Whether that is a number.
    numbered: bool
    #: The column that is this number, if one is.
    number: str | None


class _Scan:
    """The rows of a query up to one that cannot be read; ``broken`` says whether there was one."""

    def __init__(self, db: apsw.Connection, sql: str, bindings: tuple[int, ...] = ()) -> None:
        self._db, self._sql, self._bindings = db, sql, bindings
        self.broken = False

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._db.execute(self._sql, self._bindings)
        except _UNREADABLE:
            self.broken = True


def copy(damaged: str, file: File) -> Copied:
    """Copy every readable row into tables that are there already; all of them or, on error, none.

    Tasks that were in a queue of the file before are not copied into it once more.

    :param damaged: path of a file that nobody uses any more; it is only read.
    :param file: a file of this version, which may be in use; what it has stays as it is.
    :raises StorageError: when the new file cannot be written, or is the one to be read.

    .. versionadded:: 0.1
    """
    if os.path.exists(file.path) and os.path.samefile(damaged, file.path):
        raise StorageError(
            f"{damaged} is the file in use: name one that was set aside, whose name ends in"
            " .damaged-<when>"
        )
    try:
        source = apsw.Connection(damaged, flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.Error as error:
        raise explain(error, damaged) from error
    try:
        # Closing would write the log into the file: it stays as it was found.
        source.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        # Or a file that was cut off would not be read at all.
        source.execute("PRAGMA writable_schema = on")
        with file.transaction() as db:
            rows, incomplete, read = dict[str, int](), list[str](), 0
            for table in _tables(source, db):
                rows[table.name], found, is_whole = _copy_table(source, db, table)
                read += found
                if not is_whole:
                    incomplete.append(table.name)
            return Copied(rows, incomplete, read)
    finally:
        source.close()


def _tables(source: apsw.Connection, db: apsw.Connection) -> list[Table]:
    listed: list[Any] = db.execute(
        "SELECT name, wr FROM pragma_table_list WHERE schema = 'main'"
    ).fetchall()
    return [
        _table(name, _columns(source, name), _columns(db, name), with_rowid=not without)
        for name, without in sorted(listed)
        if name not in _LEFT_OUT and not name.startswith("sqlite_")
    ]


def _table(name: str, theirs: list[Any], ours: list[Any], *, with_rowid: bool) -> Table:
    known = {row[1] for row in theirs} - _FORGOTTEN
    keys = sorted((row for row in ours if row[5]), key=lambda row: row[5])
    number = None
    if with_rowid and len(keys) == 1 and keys[0][2].upper() == "INTEGER":
        number = str(keys[0][1])
    return Table(
        name,
        columns=tuple(row[1] for row in ours if row[1] in known),
        order="rowid" if with_rowid else ", ".join(f'"{row[1]}"' for row in keys),
        numbered=with_rowid,
        number=number,
    )


def _columns(db: apsw.Connection, table: str) -> list[Any]:
    """Rows of (position, name, type, not null, default, place in the primary key)."""
    return list(_Scan(db, f'PRAGMA table_info("{table}")'))


def _copy_table(
    source: apsw.Connection, db: apsw.Connection, table: Table
) -> tuple[int, int, bool]:
    """Copy the rows of a table.

    :return: how many came, how many could be read, and whether that was all of them.
    """
    if not table.columns:
        return 0, 0, _is_without(source, table.name)
    names = ", ".join(f'"{column}"' for column in table.columns)
    places = [f"?{number}" for number in range(1, len(table.columns) + 1)]
    unless = ""
    if table.number in table.columns:
        # After what is there already, and in the old order.
        highest = int(db.execute(f'SELECT max(rowid) FROM "{table.name}"').fetchall()[0][0] or 0)
        if {"task_id", "queue"} <= set(table.columns) and table.name == "message":
            of = {name: places[table.columns.index(name)] for name in ("task_id", "queue")}
            unless = (
                f" WHERE NOT EXISTS (SELECT 1 FROM message WHERE id <= {highest}"
                f" AND task_id = {of['task_id']} AND queue = {of['queue']})"
            )
        places[table.columns.index(table.number)] += f" + {highest}"
    insert = f'INSERT OR IGNORE INTO "{table.name}" ({names}) SELECT {", ".join(places)}{unless}'
    before, broken = db.total_changes(), list[bool]()
    rows = _by_number if table.numbered else _by_key
    read = 0
    for row in rows(source, table, names, broken):
        db.execute(insert, row)
        read += 1
    return db.total_changes() - before, read, not broken


def _is_without(source: apsw.Connection, table: str) -> bool:
    """Whether a file never had a table, as one of an older version may not have."""
    listed = _Scan(source, "SELECT name FROM sqlite_master")
    names = {row[0] for row in listed}
    return not listed.broken and table not in names


def _by_number(
    source: apsw.Connection, table: Table, names: str, broken: list[bool]
) -> Iterator[tuple[Any, ...]]:
    """Every readable row: from both ends, then by halving what is left between damaged pages.

    :param broken: is given something if there are others
    """
    select = f'SELECT rowid, {names} FROM "{table.name}" WHERE rowid BETWEEN ? AND ? ORDER BY rowid'
    left = deque([_bounds(source, table)])
    for _ in range(ATTEMPTS):
        if not left:
            return
        low, high = left.popleft()
        ahead = _Scan(source, select, (low, high))
        for number, *row in ahead:
            low = number + 1
            yield tuple(row)
        if not ahead.broken:
            continue
        broken.append(True)
        for number, *row in _Scan(source, select + " DESC", (low, high)):
            high = number - 1
            yield tuple(row)
        if low < high:
            middle = (low + high) // 2
            left += [(low, middle), (middle + 1, high)]


def _bounds(source: apsw.Connection, table: Table) -> tuple[int, int]:
    ends = []
    for which, otherwise in (("min", 1), ("max", _HIGHEST)):
        found = list(_Scan(source, f'SELECT {which}(rowid) FROM "{table.name}"'))
        ends.append(otherwise if not found or found[0][0] is None else int(found[0][0]))
    return ends[0], ends[1]


def _by_key(
    source: apsw.Connection, table: Table, names: str, broken: list[bool]
) -> Iterator[tuple[Any, ...]]:
    """What can be read from both ends of the table."""
    select = f'SELECT {names} FROM "{table.name}" ORDER BY '
    ahead = _Scan(source, select + table.order)
    yield from ahead
    if ahead.broken:  # what comes twice is ignored
        broken.append(True)
        yield from _Scan(
            source, select + ", ".join(f"{key} DESC" for key in table.order.split(", "))
        )
