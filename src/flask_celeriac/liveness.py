"""Which processes are alive: a lock on a file of their own, which the kernel frees.

``fcntl.lockf`` locks belong to the process, not to a descriptor: a forked child does not hold
its parent's, and no way of dying leaves one behind. They are also lost when their process
closes *any* descriptor of the file, so :func:`is_alive` never opens a file locked here.
"""

from __future__ import annotations

import functools
import os
import time
import uuid
from types import ModuleType

from .directories import make_private

fcntl: ModuleType | None
msvcrt: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:
    msvcrt = None

_held: dict[str, int] = {}


class LifeLock:
    """Proof that this process is alive.

    :param directory: where the lock file is put; made, mode 0700, when missing.

    .. versionadded:: 0.1
    """

    def __init__(self, directory: str) -> None:
        make_private(directory)
        directory = os.path.realpath(directory)  # as is_alive() knows it
        self.name = f"{boot_id()}-{uuid.uuid4().hex}"
        self.path = os.path.join(directory, self.name)
        self._pid = os.getpid()
        self._descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            _lock(self._descriptor)
        except BaseException:
            os.close(self._descriptor)
            bury(directory, self.name)
            raise
        _held[self.path] = self._pid

    def close(self) -> None:
        """Give the proof up, as a process does that leaves in good order."""
        if os.getpid() != self._pid:
            return
        os.close(self._descriptor)
        _held.pop(self.path, None)
        bury(os.path.dirname(self.path), self.name)


def is_alive(directory: str, name: str) -> bool:
    """Whether the process that made the :class:`LifeLock` of this name still lives."""
    if not name.startswith(boot_id()):
        return False
    path = os.path.join(os.path.realpath(directory), name)
    if _held.get(path) == os.getpid():
        return True
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:  # another user's, or too many open files: its lease tells
        return True
    try:
        _lock(descriptor)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def bury(directory: str, name: str) -> None:
    """Remove the lock file of a dead process."""
    try:
        os.unlink(os.path.join(directory, name))
    except OSError:
        pass


def _lock(descriptor: int) -> None:
    if fcntl is not None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    elif msvcrt is not None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)


@functools.cache
def boot_id() -> str:
    """What tells one run of this machine from the next, as far as the platform says."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(8)
    except OSError:
        return ""


def uptime() -> float:
    """Seconds on a clock all processes share and nobody sets; it stands still in suspend."""
    return time.monotonic()


def since_boot() -> float:
    """Seconds on a clock that nobody sets; it goes on in suspend, if the system has such a clock.

    That is for what other machines count, which do not stand still meanwhile.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
