"""A database that takes what is said to it and never answers is given up all the same.

Its machine is there, so that TCP is content, and it does not get as far as to look at its own
limits: it was stopped, or hangs. What waits for it waits in C, and is ended by its socket.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator

from . import background, fork_gate

_changed = threading.Condition()
_numbers = itertools.count()
#: What is watched: until when, and the socket. Later ones come later, as all have the same time.
_watched: dict[int, tuple[float, int]] = {}
_thread: threading.Thread | None = None
#: Seconds without work after which the thread ends.
_IDLE = 10.0


@contextlib.contextmanager
def watch(fileno: int, seconds: float) -> Iterator[None]:
    """Shut a socket down if the block is not over in time, which ends whoever waits for it.

    Where no thread can be started, as at the end of the process, nobody watches.

    :param seconds: the same ones wherever this is used
    """
    global _thread
    number = next(_numbers)
    with _changed:
        _watched[number] = time.monotonic() + seconds, fileno
        if _thread is None:
            _thread = background.start(_run, "celeriac-deadline")
        elif len(_watched) == 1:
            _changed.notify()
    try:
        yield
    finally:
        with _changed:
            _watched.pop(number, None)


def _run() -> None:
    global _thread
    with _changed:
        while True:
            if not _watched and not _changed.wait(_IDLE) and not _watched:
                _thread = None
                return
            for number, (end, fileno) in list(_watched.items()):
                left = end - time.monotonic()
                if left > 0:
                    _changed.wait(left)
                    break
                _watched.pop(number, None)
                _shut(fileno)


def _shut(fileno: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fileno)) as peer:
        peer.shutdown(socket.SHUT_RDWR)


def _begin_child() -> None:
    """In a forked child: nothing is watched, and the thread is the parent's."""
    global _changed, _thread
    _changed, _thread = threading.Condition(), None
    _watched.clear()


fork_gate.in_child(_begin_child)
