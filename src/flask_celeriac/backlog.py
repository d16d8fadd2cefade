"""Writes that wait for the next transaction of a worker's event loop, to share it.

A result and the acknowledgement of its message are then one transaction: both are in the file, or
neither is and the task runs again.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import fork_gate

if TYPE_CHECKING:
    import apsw

Write = Callable[["apsw.Connection"], object]


class Backlog:
    """The writes of this process that wait for a transaction on one file.

    .. versionadded:: 0.1
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Write, Callable[[], object]]] = deque()
        self._keepers = 0
        #: Held by whoever writes, from :meth:`write` until :meth:`written`.
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_kept(self) -> bool:
        """Whether somebody promised to write what comes."""
        return self._keepers > 0

    def open(self) -> None:
        """Promise to write what comes; pair it with :meth:`close`."""
        self._keepers += 1

    def close(self) -> None:
        """Take the promise back; write what is left first."""
        self._keepers -= 1

    def put(self, write: Write, done: Callable[[], object]) -> bool:
        """Have something written soon.

        :param write: takes the connection, and does not commit.
        :param done: called when it is committed.
        :return: False when nobody promised to; then the caller has to write.
        """
        if not self.is_kept:
            return False
        self._waiting.append((write, done))
        return True

    def write(self, db: apsw.Connection) -> int:
        """Write what waits, in its order, in the caller's transaction.

        :return: how much that was, for :meth:`written`.
        """
        waiting = tuple(self._waiting)
        for write, _ in waiting:
            write(db)
        return len(waiting)

    def written(self, count: int) -> None:
        """Forget what the transaction has committed, and tell whoever put it."""
        for _ in range(count):
            _, done = self._waiting.popleft()
            done()


_backlogs: dict[str, Backlog] = {}


def backlog_at(path: str) -> Backlog:
    """The :class:`Backlog` of this process for a file; the same object for the same path."""
    return _backlogs.setdefault(os.path.realpath(path), Backlog())


def _begin_child() -> None:
    """In a forked child: what waits is the parent's, and so is the promise to write it."""
    for backlog in _backlogs.values():
        backlog.__init__()  # type: ignore[misc]


fork_gate.in_child(_begin_child)
