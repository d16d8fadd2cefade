"""A copy of the embedded file, taken by SQLite itself while others read and write it."""

from __future__ import annotations

import os
import sys
import uuid
from typing import Any

import apsw

from .errors import StorageError
from .sqlite import File
from .sqlite_errors import explain

#: Pages copied at a time, so that Ctrl-C is heard in between.
STEP = 1000
#: Nobody knows the copy while it is made, and where it goes there may be no locks.
_WITHOUT_LOCKS = "win32-none" if sys.platform == "win32" else "unix-none"


def back_up(file: File, target: str, *, overwrite: bool = False) -> int:
    """Copy the file as it is at this moment to another path, where it appears when it is whole.

    :param overwrite: whether ``target`` may exist.
    :return: the copy's size in bytes.
    :raises StorageError: when it cannot be made; what was at ``target`` is then still there.

    .. versionadded:: 0.1
    """
    target = os.path.abspath(target)
    _check_target(file, target, overwrite=overwrite)
    unfinished = f"{target}.{uuid.uuid4().hex[:8]}.part"
    try:
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        _copy(file, unfinished)
        size = os.stat(unfinished).st_size
        os.replace(unfinished, target)
        _sync_directory(os.path.dirname(target))
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        for name in (unfinished, unfinished + "-journal", unfinished + "-wal"):
            if os.path.exists(name):
                os.unlink(name)
    return size


def _check_target(file: File, target: str, *, overwrite: bool) -> None:
    if os.path.isdir(target):
        raise StorageError(f"{target} is a directory: name the file to write")
    for end in ("", "-wal", "-shm"):
        if os.path.exists(target) and os.path.realpath(target) == file.path + end:
            raise StorageError(f"{target} is the file in use: name another one")
    if os.path.exists(target) and not overwrite:
        raise StorageError(f"{target} exists: name another file, or overwrite it with --force")


def _copy(file: File, target: str) -> None:
    try:
        copy = apsw.Connection(target, flags=apsw.SQLITE_OPEN_READWRITE, vfs=_WITHOUT_LOCKS)
        try:
            copy.execute("PRAGMA locking_mode = exclusive; PRAGMA synchronous = full").fetchall()
            with file.connection() as source:
                _copy_pages(source, copy)
            # One file, with no log beside it; SQLite writes this to the disk.
            copy.execute("PRAGMA journal_mode = delete").fetchall()
            found: list[Any] = copy.execute("PRAGMA integrity_check(1)").fetchall()
        finally:
            copy.close()
    except apsw.Error as error:
        raise explain(error, target) from error
    if found != [("ok",)]:
        raise StorageError(
            f"{file.path} is damaged, and so would its backup be: an older backup may be whole;"
            f" `flask celery db salvage` keeps what is readable ({found[0][0].splitlines()[-1]})"
        )


def _copy_pages(source: apsw.Connection, copy: apsw.Connection) -> None:
    source.execute("BEGIN")  # one state of the file, however long the copy takes
    try:
        source.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        with copy.backup("main", source, "main") as pages:
            while not pages.done:
                pages.step(STEP)
    finally:
        source.execute("ROLLBACK")


def _sync_directory(path: str) -> None:
    """Have the new name on the disk too, where directories can be synced."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
