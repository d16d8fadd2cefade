"""Our SQLite file as a process uses it: connections at hand, transactions, errors with remedies."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from types import TracebackType
from urllib.parse import parse_qs, quote, unquote, urlsplit

import apsw

from . import filesystem, fork_gate
from .errors import StorageError, StorageUnavailableError
from .sqlite_errors import DAMAGED, explain, explain_system
from .sqlite_opening import connect

#: The version of the SQLite library that APSW brings along.
VERSION = apsw.sqlite_lib_version()
#: Seconds between two looks whether the file is still the one that was opened.
LOOK_EVERY = 1.0
#: Bytes a put leaves free on the disk, for acks and results: what the log takes until it is emptied
#: by whoever commits.
RESERVE = 24 * 1024 * 1024
#: Bytes free that nobody uses up within the seconds until the next look.
AMPLE, ROOM_EVERY = 1024 * 1024 * 1024, 0.1

_files: dict[str, File] = {}


def _before_fork() -> None:
    for file in list(_files.values()):
        with suppress(apsw.Error):  # what cannot be closed is left open, and to the child
            file.close()


def _begin_child() -> None:
    """In a forked child: no connection is its own yet."""
    for file in _files.values():
        file.forget_connections()


fork_gate.before(_before_fork)
fork_gate.in_child(_begin_child)


def _identity(path: str) -> tuple[tuple[int, int], ...]:
    """What tells this file and its log from others that may take their names."""
    try:
        found = (os.stat(path), os.stat(path + "-wal"))
    except OSError:
        return ()
    return tuple((one.st_dev, one.st_ino) for one in found)


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
        self._look_at = self._room_at = 0.0

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

    def take_back(
        self, connection: apsw.Connection, synchronous: str, error: BaseException | None
    ) -> None:
        """Keep a connection for the next, if it is good after this error."""
        # After damage the next connection may find another file here; a transaction that could
        # not even be rolled back would make every later one fail.
        if isinstance(error, DAMAGED) or connection.in_transaction:
            connection.close(force=True)
            self.close()  # and those that have the same file
        else:
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
        :raises StorageError: the file is gone.
        """
        if time.monotonic() < self._room_at or not hasattr(os, "statvfs"):
            return
        try:
            disk = os.statvfs(self.path)
        except OSError as error:
            self.look()  # which knows more of a file that is gone
            raise explain_system(error, self.path) from error
        room = disk.f_bavail * disk.f_frsize
        if room > AMPLE:
            self._room_at = time.monotonic() + ROOM_EVERY
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
        connection = None
        try:
            self._connection = connection = self._file.acquire(self._synchronous)
            if self._begin:
                connection.execute("BEGIN IMMEDIATE")
        except BaseException as error:  # also a signal's, when it has begun
            try:
                if connection is not None:
                    self._give_back(error)
            finally:
                fork_gate.leave()
            if isinstance(error, apsw.Error):
                raise explain(error, self._file.path) from error
            raise
        return connection

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
        self._file.take_back(self._connection, self._synchronous, error)

    def _end(self, connection: apsw.Connection, *, failed: bool) -> None:
        if not failed:
            try:
                connection.execute("COMMIT")
                return
            except apsw.Error as error:
                self._roll_back(connection)
                raise explain(error, self._file.path) from error
        self._roll_back(connection)

    def _roll_back(self, connection: apsw.Connection) -> None:
        # Some errors (a full disk) have rolled back already.
        if connection.in_transaction:
            with suppress(apsw.Error):  # what failed before is what the caller should hear of
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
