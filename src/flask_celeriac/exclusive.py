"""Putting the embedded file aside while nobody has it open."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from . import liveness
from .errors import StorageError
from .sqlite import File
from .sqlite_opening import is_open_here

#: Where SQLite locks a file that is open: https://sqlite.org/fileformat.html, "the lock-byte page".
_SHARED_FIRST, _SHARED_SIZE = 0x40000000 + 2, 510


def set_aside(file: File) -> str:
    """Rename the file and its log, so that the name is free.

    :return: its new path, with the time in it.
    :raises StorageError: a process has it open.

    .. versionadded:: 0.1
    """
    aside = time.strftime(f"{file.path}.damaged-%Y%m%dT%H%M%SZ", time.gmtime())
    if os.path.exists(aside):
        raise StorageError(f"{aside} exists: wait a second")
    with _alone(file):
        # The file first: a log without its file is thrown away, the other way round it is missed.
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.rename(file.path + end, aside + end)
    return aside


@contextlib.contextmanager
def _alone(file: File) -> Iterator[None]:
    """Hold the lock that everybody needs who opens the file.

    Two proofs, as neither covers all: a worker holds a life lock even if it never could read the
    file, and whoever read it holds SQLite's shared lock, a web server too.
    """
    file.close()
    if is_open_here(file.path):
        raise StorageError(
            f"{file.path} is open in this very process: see to it that the application does not use"
            " its tasks or results while it is made"
        )
    _no_worker_lives(file)
    if liveness.fcntl is None:  # Windows does not rename what is open
        yield
        return
    descriptor = os.open(file.path, os.O_RDWR)
    try:
        try:
            liveness.fcntl.lockf(
                descriptor,
                liveness.fcntl.LOCK_EX | liveness.fcntl.LOCK_NB,
                _SHARED_SIZE,
                _SHARED_FIRST,
            )
        except OSError:
            raise _in_use(file, _holders(file.path)) from None
        yield
    finally:
        os.close(descriptor)


def _no_worker_lives(file: File) -> None:
    locks = file.beside("locks")
    names = os.listdir(locks) if os.path.isdir(locks) else []
    if any(liveness.is_alive(locks, name) for name in names):
        raise _in_use(file, [])


def _in_use(file: File, pids: list[int]) -> StorageError:
    who = f" (process {', '.join(map(str, pids))})" if pids else ""
    return StorageError(
        f"{file.path} is in use{who}: stop the workers, beat and the web server, then try again"
    )


def _holders(path: str) -> list[int]:
    """The processes that hold a lock on a file, as far as the system tells."""
    found = os.stat(path)
    file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii") as locks:
            lines = [line.split() for line in locks]
    except OSError:
        return []
    return sorted({int(line[4]) for line in lines if len(line) == 8 and line[5] == file})
