"""Moving the write-ahead log into the file, without making a commit wait for the disk."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import apsw

from . import fork_gate
from .errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .sqlite import File

#: Pages (of 4 KiB) in the log at which a process with a :class:`Checkpointer` empties it.
DUE = 3000
#: Pages at which whoever commits empties it too, because commits come faster than the thread.
OVERDUE = 6000
#: Pages at which the log is begun anew by force, with the next writers waiting for it: where many
#: processes write, it is never empty by chance.
TOO_LONG = 12000
#: About one commit in so many tries that; a prime, as commits are often of one length.
EVERY = 127
#: Seconds for which others are kept out, or waited for, at most.
BRIEF = 0.03
#: Seconds between two attempts of the thread.
PAUSE = 0.2

logger = logging.getLogger(__name__)
_checkpointers: dict[str, Checkpointer] = {}
fork_gate.in_child(_checkpointers.clear)


def after_commit(
    path: str, patience: Callable[[int], bool], connection: apsw.Connection, _: str, pages: int
) -> int:
    """SQLite's hook after each commit; takes the place of its autocheckpoint.

    :param patience: the connection's busy handler.
    """
    if pages >= DUE:
        checkpointer = _checkpointers.get(path)
        if checkpointer is not None:
            checkpointer.wake()
        if pages >= OVERDUE:
            try:
                if pages >= TOO_LONG and pages % EVERY == 0:
                    _begin_anew(connection, patience)
                else:
                    connection.wal_checkpoint()
            except apsw.Error:  # the commit stands, and the next one tries again
                pass
    return apsw.SQLITE_OK


def _begin_anew(connection: apsw.Connection, patience: Callable[[int], bool]) -> None:
    """Keep writers out for as long as it takes, but give up soon if a reader holds the log.

    Where another process is at it, SQLite says so at once, without asking the busy handler.
    """
    end = time.monotonic() + BRIEF
    connection.set_busy_handler(lambda _: _waits_until(end))
    try:
        while True:
            try:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
                return
            except apsw.BusyError:
                if not _waits_until(end):
                    raise
    finally:
        connection.set_busy_handler(patience)


def _waits_until(end: float) -> bool:
    time.sleep(0.0005)
    return time.monotonic() < end


class Checkpointer:
    """A thread that empties a file's write-ahead log; one in a process is enough.

    .. versionadded:: 0.1
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self._due = threading.Event()
        self._stopped = False
        self.wake = self._due.set
        _checkpointers[file.path] = self
        threading.Thread(target=self._run, name="celeriac-checkpoint", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        if _checkpointers.get(self._file.path) is self:  # else another one was begun meanwhile
            _checkpointers.pop(self._file.path, None)
        self._stopped = True
        self.wake()

    def _run(self) -> None:
        while not self._stopped:
            self._due.wait()
            if not self._stopped:
                self._empty()
                time.sleep(PAUSE)
            self._due.clear()

    def _empty(self) -> None:
        try:
            with self._file.connection() as db:
                db.wal_checkpoint()
        except StorageError as error:
            if not isinstance(error.__cause__, apsw.BusyError):  # another process is at it
                logger.warning("The write-ahead log could not be emptied, trying again: %s", error)
