"""What can be read of a damaged file, copied into a new one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import apsw

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


def copy(damaged: str, file: File) -> dict[str, int]:
    """Copy every readable row into tables that are there already; all of them or, on error, none.

    :param damaged: path of a file that nobody uses any more; it is only read.
    :param file: a file of this version, which may be in use; what it has stays as it is.
    :return: how many rows came into each table.
    :raises StorageError: when the new file cannot be written.

    .. versionadded:: 0.1
    """
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
            return {table.name: _copy_table(source, db, table) for table in _tables(source, db)}
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


def _copy_table(source: apsw.Connection, db: apsw.Connection, table: Table) -> int:
    if not table.columns:
        return 0
    names = ", ".join(f'"{column}"' for column in table.columns)
    places = ["?"] * len(table.columns)
    if table.number in table.columns:
        # After what is there already, and in the old order.
        highest = db.execute(f'SELECT max(rowid) FROM "{table.name}"').fetchall()[0][0] or 0
        places[table.columns.index(table.number)] = f"? + {int(highest)}"
    insert = f'INSERT OR IGNORE INTO "{table.name}" ({names}) VALUES ({", ".join(places)})'
    before = db.total_changes()
    for row in (
        _by_number(source, table, names) if table.numbered else _by_key(source, table, names)
    ):
        db.execute(insert, row)
    return db.total_changes() - before


def _by_number(source: apsw.Connection, table: Table, names: str) -> Iterator[tuple[Any, ...]]:
    """Every readable row: from both ends, then by halving what is left between damaged pages."""
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


def _by_key(source: apsw.Connection, table: Table, names: str) -> Iterator[tuple[Any, ...]]:
    """What can be read from both ends of the table."""
    select = f'SELECT {names} FROM "{table.name}" ORDER BY '
    ahead = _Scan(source, select + table.order)
    yield from ahead
    if ahead.broken:  # what comes twice is ignored
        yield from _Scan(
            source, select + ", ".join(f"{key} DESC" for key in table.order.split(", "))
        )
