"""Writes that wait for the next transaction of a worker's event loop, to share it.

A result and the acknowledgement of its message are then one transaction: both are in the file, or
neither is and the task runs again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from . import fork_gate

if TYPE_CHECKING:
    import apsw

Claim = tuple[int, int]

logger = logging.getLogger(__name__)


class Writer(Protocol):
    """Who knows how to write some of what waits, all of it at once.

    .. versionadded:: 0.1
    """

    def write(self, db: apsw.Connection, items: Sequence[Any]) -> object:
        """Write these, and do not commit."""

    def written(self, items: Sequence[Any]) -> object:
        """They are committed."""


class Backlog:
    """The writes of this process that wait for a transaction on one file.

    Each belongs to a claim: the message and the number under which it was claimed.

    .. versionadded:: 0.1
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin with nothing, as a forked child must: what waits is its parent's to write."""
        self._waiting: dict[Claim, tuple[Writer, Any]] = {}
        self._keepers = 0
        self._seen: set[Claim] = set()
        #: Held by whoever writes, from :meth:`write` until :meth:`written`.
        self.lock = threading.RLock()  # a signal handler may come in between

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
        """Take the promise back; what is left is still to be written."""
        self._keepers -= 1

    def put(self, claim: Claim, writer: Writer, item: object) -> bool:
        """Have something written together with the end of a claim.

        :param writer: is given what it has to write in one transaction at once.
        :return: False when nobody promised to; then the caller has to write.
        """
        if not self.is_kept:
            return False
        self._waiting[claim] = (writer, item)
        return True

    def is_overdue(self) -> bool:
        """Whether something waits that did so at the last call already."""
        before, self._seen = self._seen, set(self._waiting)
        return not before.isdisjoint(self._seen)

    def write(self, db: apsw.Connection, claims: Iterable[Claim] | None) -> list[Claim]:
        """Write what waits for these claims, in the caller's transaction.

        :param claims: None for all that wait.
        :return: those there was something for; give them to :meth:`written`.
        """
        waiting = self._waiting
        found = list(waiting) if claims is None else [one for one in claims if one in waiting]
        for writer, items in self._by_writer(found):
            writer.write(db, items)
        return found

    def written(self, claims: Sequence[Claim]) -> None:
        """Forget what the transaction has committed, and tell whoever put it."""
        ended = self._by_writer(claims)
        for claim in claims:
            del self._waiting[claim]
        for writer, items in ended:
            try:
                writer.written(items)
            except Exception:  # it is committed, and the claims of this turn with it
                logger.exception("Whoever waits for a result was not told that it is there")

    def _by_writer(self, claims: Iterable[Claim]) -> Iterable[tuple[Writer, list[Any]]]:
        found: dict[Writer, list[Any]] = {}
        for claim in claims:
            writer, item = self._waiting[claim]
            found.setdefault(writer, []).append(item)
        return found.items()


_backlogs: dict[str, Backlog] = {}


def backlog_at(path: str) -> Backlog:
    """The :class:`Backlog` of this process for a file; the same object for the same path."""
    return _backlogs.setdefault(os.path.realpath(path), Backlog())


def _begin_child() -> None:
    for backlog in _backlogs.values():
        backlog.reset()


fork_gate.in_child(_begin_child)
