"""Wake another process in microseconds: a unix datagram to a socket in a shared directory.

A ring carries no data and may be lost: whoever waits on a bell also looks at the file now and
then. Where there are no unix datagrams (Windows) nobody rings, and the looking is all there is.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import math
import os
import re
import select
import socket
import sys
import time
import weakref
from collections.abc import Collection

from .directories import make_private

#: Whether this platform has bells at all.
AVAILABLE = hasattr(socket, "AF_UNIX") and sys.platform != "win32"
#: Bytes of the longest path that a unix socket may have on every platform: ``sun_path`` of macOS
#: has 104.
PATH_LIMIT = 100
#: A directory changed less than this before it was listed may have changed again within the
#: same tick of the file system's clock, so that listing is not kept.
RACY_NS = 50_000_000
#: So many names are looked for one by one, not by listing the directory.
FEW = 2
#: What comes through the socket.
_RING, _NUDGE = b"\0", b"\1"
_PLAIN = re.compile(r"[\w-]{1,64}")


class Bell:
    """A socket others can ring, named in a directory.

    :param directory: where it is put; made, mode 0700, when missing.
    :param name: file name, unique among those who wait there.
    :raises OSError: when it cannot be bound, as when the name is taken.

    .. versionadded:: 0.1
    """

    def __init__(self, directory: str, name: str) -> None:
        make_private(directory)
        self.path = os.path.join(directory, name)
        self._pid = os.getpid()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            with _Reachable(directory, name) as path:
                self._socket.bind(path)
        except BaseException:
            self._socket.close()
            raise
        #: Also called when it is collected, and at the end of the process.
        self._end = weakref.finalize(self, _end, self._socket, self.path, self._pid)
        os.chmod(self.path, 0o600)

    def fileno(self) -> int:
        """The descriptor to watch for reading."""
        return self._socket.fileno()

    def nudge(self) -> None:
        """Have :meth:`clear` called, by whoever watches, for no reason but that."""
        try:
            with _Reachable(*os.path.split(self.path)) as path:
                self._socket.sendto(_NUDGE, path)
        except OSError:  # taken away, or so full of rings that one more says nothing
            pass

    def clear(self) -> bool:
        """Take every ring that has come.

        :return: whether anybody rang, other than with :meth:`nudge`
        """
        rung = False
        try:
            while ring := self._socket.recv(16):
                rung = rung or ring != _NUDGE
        except (BlockingIOError, OSError):
            pass
        return rung

    def wait(self, seconds: float) -> bool:
        """Wait for a ring.

        :param seconds: the longest time to wait.
        :return: whether it rang.
        """
        seconds = max(0.0, seconds)
        if hasattr(select, "poll"):  # select(2) knows no descriptor above 1,023
            poller = select.poll()
            poller.register(self._socket, select.POLLIN)
            rung = bool(poller.poll(math.ceil(seconds * 1000)))
        else:  # eventlet leaves nothing else
            rung = bool(select.select([self._socket], [], [], seconds)[0])
        if rung:
            self.clear()
        return rung

    @property
    def is_inherited(self) -> bool:
        """Whether it is that of the process this one was forked from."""
        return os.getpid() != self._pid

    def close(self) -> None:
        """Stop listening."""
        self._end()


class Ringer:
    """Rings every bell of a directory, or one of them by name.

    .. versionadded:: 0.1
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        #: When the directory had been changed last when it was listed, and what was in it.
        self._listed: tuple[int | None, list[str]] = (None, [])

    def ring_all(self) -> None:
        """Ring every bell of the directory."""
        for name in self._bells():
            self.ring(name)

    def ring_those(self, names: Collection[str]) -> None:
        """Ring these bells, as far as they are there: most are not, and looking is cheap."""
        if len(names) > FEW:
            for name in set(names).intersection(self._bells()):
                self.ring(name)
            return
        for name in names:
            if os.access(f"{self.directory}/{name}", os.F_OK):
                self.ring(name)

    def ring(self, name: str) -> None:
        """Ring one bell; nobody listening is no error."""
        if not AVAILABLE:
            return
        try:
            with _Reachable(self.directory, name) as path:
                _sender().sendto(_RING, path)
        except ConnectionRefusedError:  # its process died: nobody will ever listen there again
            _unlink(os.path.join(self.directory, name))
        except OSError:  # gone, or so full of rings that one more says nothing
            pass

    def sweep(self) -> None:
        """Take away the bells of processes that died: nobody rings those of tasks that have ended.

        Nobody who listens is woken.
        """
        for name in self._bells():
            try:
                with (
                    _Reachable(self.directory, name) as path,
                    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as caller,
                ):
                    caller.connect(path)
            except ConnectionRefusedError:
                _unlink(os.path.join(self.directory, name))
            except OSError:  # gone meanwhile
                pass

    def _bells(self) -> list[str]:
        try:
            changed = os.stat(self.directory).st_mtime_ns
            before, names = self._listed
            if changed != before:
                now = time.time_ns()
                names = os.listdir(self.directory)
                self._listed = (changed if now - changed > RACY_NS else None), names
        except OSError:  # not there, or too many open files: what was put is put all the same
            return []
        return names


def bell_name(text: str) -> str:
    """A file name for any text: a task's id may be whatever a user chooses."""
    if _PLAIN.fullmatch(text):
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@functools.cache
def _sender() -> socket.socket:
    """The socket this process rings with; a forked child may share its parent's."""
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    atexit.register(sender.close)
    return sender


class _Reachable:
    """A path short enough for a unix socket: long ones are reached through their directory."""

    __slots__ = ("_descriptor", "_directory", "_name")

    def __init__(self, directory: str, name: str) -> None:
        self._directory, self._name = directory, name
        self._descriptor = -1

    def __enter__(self) -> str:
        path = f"{self._directory}/{self._name}"
        if len(os.fsencode(path)) <= PATH_LIMIT:
            return path
        if not os.path.isdir("/proc/self/fd"):
            raise OSError(f"{path}: longer than a unix socket's path may be")
        self._descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._descriptor}/{self._name}"

    def __exit__(self, *_: object) -> None:
        if self._descriptor != -1:
            os.close(self._descriptor)


def _end(listening: socket.socket, path: str, pid: int) -> None:
    listening.close()
    if os.getpid() == pid:  # in a forked child, it is the parent's name
        _unlink(path)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
