"""The one place that opens our SQLite files: APSW, pragmas, fork safety, retries.

Nothing else in this package may open the file. POSIX drops every lock a process holds on a file
when *any* of its descriptors of that file is closed, so one stray ``open(path).close()`` would
let another process delete a write-ahead log in use (https://sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import functools
import os
import random
import stat
import threading
import time
import weakref
from collections import deque
from types import TracebackType
from urllib.parse import parse_qs, quote, unquote, urlsplit

import apsw

from . import checkpoint, filesystem, fork_gate
from .directories import make_private
from .errors import StorageError, StorageUnavailableError
from .sqlite_errors import DAMAGED, explain, explain_system

#: The version of the SQLite library that APSW brings along.
VERSION = apsw.sqlite_lib_version()

#: Seconds a connection waits for another process's transaction before it gives up.
BUSY_TIMEOUT = 10.0
#: Bytes the write-ahead log is cut to when it is started anew.
WAL_LIMIT = 16 * 1024 * 1024

#: What SQLite's ``application_id`` says in our files ("Clry").
APPLICATION = 0x436C7279
#: Seconds between two looks whether the file is still the one that was opened.
LOOK_EVERY = 1.0

#: Bytes a put leaves free on the disk, for acks, results and checkpoints.
RESERVE = 16 * 1024 * 1024

#: Connections inherited through fork: kept for ever, because closing one in the child would
#: touch the parent's file (https://sqlite.org/howtocorrupt.html, 2.6).
_inherited: list[object] = []
_open: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()
_files: dict[str, File] = {}
_opening = threading.Lock()


def _begin_child() -> None:
    """In a forked child: the parent's connections stay the parent's."""
    _inherited.extend(_open)
    _open.clear()
    for file in _files.values():
        file.forget_connections()


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
    except OSError as error:
        raise explain_system(error, path) from error
    finally:
        fork_gate.leave()


def is_open_here(path: str) -> bool:
    """Whether this process has a connection to a file."""
    return any(connection.filename == path for connection in list(_open))


def _connect(path: str, synchronous: str) -> apsw.Connection:
    with _opening:
        _create(path)
        connection = apsw.Connection(path, statementcachesize=64)
    _open.add(connection)
    connection.set_busy_handler(_Patience())
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
    connection.set_wal_hook(functools.partial(checkpoint.after_commit, path))
    return connection


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


def _identity(path: str) -> tuple[tuple[int, int], ...]:
    """What tells this file and its log from others that may take their names."""
    try:
        found = (os.stat(path), os.stat(path + "-wal"))
    except OSError:
        return ()
    return tuple((one.st_dev, one.st_ino) for one in found)


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
        elif now - self._began > BUSY_TIMEOUT:
            return False
        step = 0.0001 if tries < 40 else 0.001 if tries < 200 else 0.01
        time.sleep(step * (0.5 + random.random()))
        return True


class File:
    """One of our SQLite files as this process sees it: a stack of idle connections.

    .. versionadded:: 0.1
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.forget_connections()

    def forget_connections(self) -> None:
        """Start with no connection, as a forked child must."""
        self._idle: dict[str, deque[apsw.Connection]] = {"NORMAL": deque(), "FULL": deque()}
        self._identity: tuple[tuple[int, int], ...] = ()
        self._look_at = 0.0

    def connection(self, synchronous: str = "NORMAL") -> Session:
        """A connection for the length of a ``with`` block; each statement commits by itself."""
        return Session(self, synchronous, begin=False)

    def transaction(self, synchronous: str = "NORMAL") -> Session:
        """A write transaction for the length of a ``with`` block: commit, or roll back on error."""
        return Session(self, synchronous, begin=True)

    def acquire(self, synchronous: str) -> apsw.Connection:
        if time.monotonic() > self._look_at:
            self.look()
        try:
            return self._idle[synchronous].pop()
        except IndexError:
            connection = connect(self.path, synchronous=synchronous)
        if not self._identity:
            self._identity = _identity(self.path)
        return connection

    def look(self) -> None:
        """Make sure that what this process has open is what others find under the name.

        :raises StorageError: the file was moved or replaced, or its log deleted: what is written
            now, nobody will ever see.
        """
        if self._identity and self._identity != _identity(self.path):
            raise StorageError(
                f"{self.path}: the file or its log was deleted or replaced while this process had"
                " it open: start the process anew. Stop everything before you touch the file, and"
                " open it with nothing but `flask celery db`"
            )
        self._look_at = time.monotonic() + LOOK_EVERY

    def release(self, connection: apsw.Connection, synchronous: str) -> None:
        self._idle[synchronous].append(connection)

    def close(self) -> None:
        """Close the idle connections, for a process that is done with the file."""
        fork_gate.enter()
        try:
            for idle in self._idle.values():
                while idle:
                    idle.pop().close()
            self._identity = ()
        finally:
            fork_gate.leave()

    def beside(self, name: str) -> str:
        """The path of a directory beside the file, for sockets and locks."""
        return os.path.join(self.path + ".run", name)

    def _free_inside(self) -> int:
        """Bytes of the file that what was deleted left free."""
        with self.connection() as db:
            pages, size = db.pragma("freelist_count"), db.pragma("page_size")
        return int(pages) * int(size)

    def check_room(self) -> None:
        """Refuse to add to a disk that is nearly full, so that acks and results still fit.

        :raises StorageUnavailableError: when less than :data:`RESERVE` is free.
        """
        if not hasattr(os, "statvfs"):
            return
        disk = os.statvfs(self.path)
        room = disk.f_bavail * disk.f_frsize
        if room < RESERVE and room + self._free_inside() < RESERVE:
            raise StorageUnavailableError(
                f"{self.path}: the disk is full, less than {RESERVE >> 20} MiB are free: free some"
                " space; nothing acknowledged is lost, and what is queued still runs"
            )


class Session:
    """The ``with`` block of :class:`File`: fork gate, connection, transaction, error."""

    __slots__ = ("_begin", "_connection", "_file", "_synchronous")

    def __init__(self, file: File, synchronous: str, *, begin: bool) -> None:
        self._file = file
        self._synchronous = synchronous
        self._begin = begin

    def __enter__(self) -> apsw.Connection:
        fork_gate.enter()
        try:
            self._connection = self._file.acquire(self._synchronous)
            if self._begin:
                self._connection.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            fork_gate.leave()
            if isinstance(error, apsw.Error):
                self._give_back(error)
                raise explain(error, self._file.path) from error
            raise
        return self._connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._begin:
                self._end(self._connection, failed=error is not None)
        finally:
            self._give_back(error)
            fork_gate.leave()
        if isinstance(error, apsw.Error):
            raise explain(error, self._file.path) from error

    def _give_back(self, error: BaseException | None) -> None:
        if isinstance(error, DAMAGED):  # the next connection may find another file here
            self._connection.close(force=True)
        else:
            self._file.release(self._connection, self._synchronous)

    def _end(self, connection: apsw.Connection, *, failed: bool) -> None:
        if not failed:
            try:
                connection.execute("COMMIT")
                return
            except apsw.Error as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise explain(error, self._file.path) from error
        # Some errors (a full disk) have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def file_at(path: str) -> File:
    """The :class:`File` of this process for a path; the same object for the same path."""
    path = os.path.realpath(path)
    try:
        return _files[path]
    except KeyError:
        return _files.setdefault(path, File(path))


def path_of(url: str) -> str:
    """The file that a ``celeriac:///path`` URL names.

    Four slashes begin an absolute path, three one relative to the working directory.

    :raises StorageError: when the URL names no file, or one on a network file system that it does
        not allow, as ``?allow=nfs4`` would.

    .. versionadded:: 0.1
    """
    parts = urlsplit(url)
    path = unquote(parts.path).removeprefix("/")
    if not path:
        raise StorageError(f"{url!r} names no file: write celeriac:////absolute/path/celeriac.db")
    path = os.path.abspath(path)
    kind = filesystem.kind_of(path)
    if filesystem.is_shared(kind) and kind not in parse_qs(parts.query).get("allow", ()):
        raise StorageError(
            f"{path} is on a network file system ({kind}), where two processes may not see each"
            " other's locks and damage it: put it on a local disk, by Flask(instance_path=...) or"
            f" CELERY_BROKER_URL, or use Redis. If nothing but this one system ever opens it, write"
            f" {url_of(path)}?allow={kind}"
        )
    return path


def url_of(path: str) -> str:
    """The URL of an embedded broker's file.

    .. versionadded:: 0.1
    """
    return "celeriac:///" + quote(os.path.abspath(path))
