"""A process that claims messages: how others know it is alive, and what becomes of the dead.

Two proofs of life: a lock the kernel frees when the process dies, looked at every second, and a
lease on the uptime clock for a process that is stopped but not dead. The lease is renewed by a
thread, because a solo worker's event loop stands still while a task runs.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading

from .. import fork_gate, liveness
from ..checkpoint import Checkpointer
from ..errors import StorageError
from ..sqlite_errors import explain_system
from . import process_queries, queries
from .store import Store

#: Seconds after which a process that does not renew its lease is taken to be hung.
LEASE = 60.0

logger = logging.getLogger(__name__)
_members: dict[tuple[int, str], Member] = {}
_lock = threading.Lock()
#: What the worker of this process is called, if it is one.
_name: str | None = None


def _begin_child() -> None:
    """In a forked child: it claims nothing yet, whoever was about to join in the parent."""
    global _lock, _name
    _lock = threading.Lock()
    _members.clear()
    _name = None


fork_gate.in_child(_begin_child)


class Member:
    """This process, among those that claim messages from a file.

    .. versionadded:: 0.1
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._users = 0
        self._count = itertools.count(1)
        #: The claim made last, and the last one that others may have been given since.
        self._last = self._lost = 0
        self._left = threading.Event()
        try:
            self.lock = liveness.LifeLock(store.locks)
        except OSError as error:
            raise explain_system(error, store.locks) from error
        self._lease = liveness.uptime() + LEASE
        try:
            with store.file.transaction() as db:
                self.id = process_queries.add_process(
                    db, os.getpid(), self.lock.name, self._lease, _name
                )
        except BaseException:
            self.lock.close()
            raise
        self._checkpointer = Checkpointer(store.file)
        thread = threading.Thread(target=self._keep_lease, name="celeriac-lease", daemon=True)
        thread.start()

    def next_claim(self) -> int:
        """A claim number that was never given out before.

        :raises StorageError: this process was stopped for longer than its lease, which cannot be
            renewed just now; what it claims would be taken away at once.
        """
        if self._lease < liveness.uptime():
            self._renew()
        claim = queries.claim_token(self.id, next(self._count))
        self._last = claim + queries.AT_ONCE
        return claim

    def may_have_lost(self, claim: int) -> bool:
        """Whether others may have what was claimed, as this process was stopped meanwhile."""
        return claim <= self._lost or self._lease < liveness.uptime()

    def _keep_lease(self) -> None:
        while not self._left.wait(LEASE / 4):
            try:
                self._renew()
            except StorageError as error:
                logger.warning("The lease of this worker was not renewed, trying again: %s", error)
            except Exception:
                # This thread has to live: without a lease what this worker runs is given to others.
                logger.exception("The lease of this worker was not renewed, trying again")

    def _renew(self) -> None:
        if self._lease < liveness.uptime():
            self._lost = self._last
        lease = liveness.uptime() + LEASE
        with self.store.file.connection() as db:
            process_queries.renew(db, self.id, lease)
        self._lease = lease

    def say_name(self) -> None:
        """Note what this process's worker is called; if that cannot be now, it goes without."""
        with contextlib.suppress(StorageError), self.store.file.connection() as db:
            process_queries.name_process(db, self.id, _name)

    @property
    def has_left(self) -> bool:
        """Whether it claims no more, and its row may be gone."""
        return self._left.is_set()

    def leave(self) -> None:
        """Stop claiming; the last channel that leaves takes the process's row with it."""
        with _lock:
            self._users -= 1
            if self._users:
                return
            _members.pop((os.getpid(), self.store.path), None)
        self._left.set()
        self._checkpointer.stop()
        try:
            with self.store.file.transaction() as db:
                process_queries.remove_process(db, self.id)
        finally:
            self.lock.close()


def name_worker(name: str | None) -> None:
    """Have the files in which this process claims messages say what its worker is called."""
    global _name
    with _lock:
        _name = name
        for member in _members.values():
            member.say_name()


def join(store: Store) -> Member:
    """Make this process one that claims messages from the file; pair it with ``leave()``."""
    key = (os.getpid(), store.path)
    with _lock:
        member = _members.get(key)
        if member is None:
            member = _members[key] = Member(store)
        member._users += 1
    return member


def reap(store: Store) -> int:
    """Give back what dead processes had claimed.

    :raises StorageError: this process was taken for dead; what it has claimed is not its own.
    :return: how many messages became ready again.
    """
    ours = _members.get((os.getpid(), store.path))
    with store.file.connection() as db:
        known = process_queries.processes(db)
    if ours is not None and not ours.has_left and ours.id not in {one.id for one in known}:
        raise StorageError(
            f"{store.locks}: others took this process for dead, as its file there was removed or"
            " opened by somebody else: start it anew, and leave that directory alone"
        )
    released = 0
    for process in known:
        if ours is not None and process.id == ours.id:
            continue
        if not alive(store, process):
            with store.file.transaction() as db:
                released += process_queries.remove_process(db, process.id, died=True)
            liveness.bury(store.locks, process.lock)
        elif process.lease < liveness.uptime():
            # Hung or stopped: take its messages, but let it stay, for it may come back.
            with store.file.transaction() as db:
                released += queries.release_overdue(db, process.id, liveness.uptime())
    if released:
        logger.warning("%d task(s) of workers that died will run again", released)
        store.ring()
    return released


def alive(store: Store, process: queries.Process) -> bool:
    """Whether a process noted in the file still lives."""
    return liveness.is_alive(store.locks, process.lock)


def consumed(store: Store, queue: str) -> bool:
    """Whether a living process consumes a queue."""
    with store.file.connection() as db:
        processes = queries.consumers(db, queue)
    return any(alive(store, process) for process in processes)
