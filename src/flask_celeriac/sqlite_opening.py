"""Opening our SQLite file: APSW, pragmas, whose file it is, what a fork inherits.

Nothing else in this package may open the file. POSIX drops every lock a process holds on a file
when *any* of its descriptors of that file is closed, so one stray ``open(path).close()`` would
let another process delete a write-ahead log in use (https://sqlite.org/howtocorrupt.html, 2.2).
SQLite resists that since 3.51, which is no reason to ask for it.
"""

from __future__ import annotations

import functools
import os
import random
import stat
import threading
import time
import weakref

import apsw

from . import checkpoint, fork_gate, patience
from .directories import make_private
from .errors import StorageError
from .sqlite_errors import explain, explain_system

#: Seconds a connection waits for another process's transaction before it gives up.
BUSY_TIMEOUT = 10.0
#: Bytes the write-ahead log is cut to when it is started anew.
WAL_LIMIT = 32 * 1024 * 1024
#: What SQLite's ``application_id`` says in our files ("Clry").
APPLICATION = 0x436C7279

#: Connections inherited through fork: kept for ever, because closing one in the child would
#: touch the parent's file (https://sqlite.org/howtocorrupt.html, 2.6).
_inherited: list[object] = []
_open: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
_opening = threading.Lock()


def _begin_child() -> None:
    """In a forked child: the parent's connections stay the parent's."""
    _inherited.extend(_open)
    _open.clear()


fork_gate.in_child(_begin_child)


def connect(path: str, *, synchronous: str = "NORMAL") -> apsw.Connection:
    """Open a connection to our file, with the pragmas every one of them needs.

    :param path: absolute path of the file; it is made (mode 0600, its directory 0700) when missing.
    :param synchronous: SQLite's ``synchronous`` pragma, ``"NORMAL"`` or ``"FULL"``.
    :raises StorageError: when the file cannot be opened.

    .. versionadded:: 0.1
    """
    fork_gate.enter()
    try:
        return _connect(path, synchronous)
    except apsw.Error as error:
        raise explain(error, path) from error
    except StorageError:
        raise
    except OSError as error:
        raise explain_system(error, path) from error
    finally:
        fork_gate.leave()


def is_open_here(path: str) -> bool:
    """Whether this process has a connection to a file."""
    for connection in list(_open):
        try:
            if connection.filename == path:
                return True
        except apsw.ConnectionClosedError:
            pass
    return False


def _connect(path: str, synchronous: str) -> apsw.Connection:
    waiting, tries = _Patience(), 0
    while True:
        try:
            return _connect_once(path, synchronous)
        except apsw.BusyError:
            # While several processes make a file, SQLite refuses without asking its busy handler.
            if not waiting(tries):
                raise
            tries += 1


def _connect_once(path: str, synchronous: str) -> apsw.Connection:
    with _opening:
        _create(path)
        connection = apsw.Connection(path, statementcachesize=128)
    _open.add(connection)
    try:
        _set_up(connection, path, synchronous)
    except BaseException:
        connection.close(force=True)
        raise
    return connection


def _set_up(connection: apsw.Connection, path: str, synchronous: str) -> None:
    waiting = _Patience()
    connection.set_busy_handler(waiting)
    new = _is_new(connection, path)
    # Otherwise the claim is planned anew each time, as its partial index might not fit a value.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    for pragma in (
        "journal_mode = wal",
        f"synchronous = {synchronous}",
        f"journal_size_limit = {WAL_LIMIT}",
        "temp_store = memory",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    if new:
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.set_wal_hook(functools.partial(checkpoint.after_commit, path, waiting))


def _create(path: str) -> None:
    """Make an empty file only its owner may read; SQLite copies its mode to ``-wal`` and ``-shm``.

    Exclusive creation: the descriptor closed here can be no other connection's file.
    """
    make_private(os.path.dirname(path))
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, stat.S_IRUSR | stat.S_IWUSR))
    except FileExistsError:
        pass


def _is_new(connection: apsw.Connection, path: str) -> bool:
    """Whether the file is not marked as ours yet; asked before anything in it is changed.

    :raises StorageError: it is the database of something else.
    """
    marked, things, ours = connection.execute(
        "SELECT application_id, (SELECT count(*) FROM sqlite_schema), (SELECT count(*) FROM"
        " sqlite_schema WHERE name IN ('message_ready', 'celeriac_schema'))"
        " FROM pragma_application_id"
    ).fetchall()[0]
    if marked == APPLICATION:
        return False
    if marked or (things and not ours):  # the first files of ours had no mark
        raise StorageError(
            f"{path} is the database of another application: name a file of its own in the"
            " broker's URL, it is made when it is missing"
        )
    return True


class _Patience:
    """How long, and in what steps, a connection waits for the writer before it.

    SQLite's own handler sleeps a millisecond and more, which is many times what our
    transactions take.
    """

    __slots__ = ("_began",)

    def __call__(self, tries: int) -> bool:
        now = time.monotonic()
        if tries == 0:
            self._began = now
        elif now - self._began > BUSY_TIMEOUT or not patience.allows(limit=patience.WRITER):
            return False
        step = 0.0001 if tries < 40 else 0.001 if tries < 200 else 0.01
        time.sleep(step * (0.5 + random.random()))
        return True
