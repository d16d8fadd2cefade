"""Whether the embedded file is whole, and how large it is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import apsw

from .sqlite import File
from .sqlite_errors import DAMAGED

#: Complaints of SQLite's that are kept; one is enough to know.
LONGEST = 5


@dataclass(frozen=True)
class Examination:
    """What was found.

    :param size: bytes of the file, without its log.
    :param free: bytes of it that what was deleted left free.
    :param log: bytes of the write-ahead log.
    :param queue_version: version of the queue's tables, 0 when there are none.
    :param records_version: the same of the results' tables.
    :param complaints: what SQLite says is wrong, empty when the file is whole.

    .. versionadded:: 0.1
    """

    size: int
    free: int
    log: int
    queue_version: int
    records_version: int
    complaints: list[str]


def examine(file: File) -> Examination:
    """Read all of the file, while others use it.

    :raises StorageError: when it cannot be opened.

    .. versionadded:: 0.1
    """
    with file.connection() as db:
        complaints = _complaints(db)
        return Examination(
            size=_size(file.path),
            free=_number(db, "PRAGMA freelist_count") * _number(db, "PRAGMA page_size"),
            log=_size(file.path + "-wal"),
            queue_version=_number(db, "PRAGMA user_version"),
            records_version=_records_version(db),
            complaints=complaints,
        )


def _complaints(db: apsw.Connection) -> list[str]:
    try:
        found: list[Any] = db.execute(f"PRAGMA integrity_check({LONGEST})").fetchall()
    except DAMAGED as error:
        return [str(error)]
    return [] if found == [("ok",)] else [line for (text,) in found for line in text.splitlines()]


def _records_version(db: apsw.Connection) -> int:
    for source in ("version_num FROM celeriac_alembic_version", "version FROM celeriac_schema"):
        try:
            return _number(db, f"SELECT {source}")
        except (apsw.SQLError, *DAMAGED):  # an older version, or no record was written yet
            continue
    return 0


def _number(db: apsw.Connection, sql: str) -> int:
    return int(db.execute(sql).fetchall()[0][0] or 0)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
