"""Waiting for a task to end: by a bell in the embedded file, by looking elsewhere."""

from __future__ import annotations

import logging
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

from celery import exceptions, states

from .. import liveness
from ..broker import queries as broker_queries
from ..doorbell import AVAILABLE, Bell, Ringer, bell_name
from ..errors import StorageError
from .unreadable import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..sqlite import File
    from .reply_bell import ReplyBell

#: Seconds without a result after which a wait asks whether anybody consumes the task's queue.
PATIENCE = 3.0
#: Seconds between looks at the record while its bell is silent, and where there is none.
FALLBACK, POLLING = 0.5, 0.01
#: Tasks that are looked for by one statement.
BATCH = 500
#: Seconds a thread listens for a task it has just sent before it makes a bell for that task.
BRIEF = 0.02

logger = logging.getLogger(__name__)


class Waiting:
    """The half of the result backend that waits.

    .. versionadded:: 0.1
    """

    #: The embedded file and the bells of those who wait, where the records are in it.
    _file: File | None
    _ringer: Ringer | None
    reply_bell: ReplyBell | None
    #: Celery's, from the other half.
    get_task_meta: Any
    ready_among: Any
    _ensure_not_eager: Any
    _get_task_meta_for: Any
    _cache: Any

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Any = None,
    ) -> dict[str, Any]:
        """Wait for a task to end.

        :param timeout: seconds to wait, None for ever.
        :param interval: seconds between looks at a database that has no bell.
        :return: the task's meta, as :meth:`get_task_meta` gives it.
        :raises celery.exceptions.TimeoutError: when it did not end in time.
        """
        began = time.monotonic()
        heard = self._hear(task_id, timeout)
        bell = None if heard else self.bell(task_id)
        pause, warned = POLLING, False
        try:
            while True:
                meta: dict[str, Any] = heard or self.get_task_meta(task_id)
                if meta["status"] in states.READY_STATES:
                    if on_interval and meta["status"] in states.PROPAGATE_STATES:
                        on_interval()  # raises the error of a task before it, if that was the cause
                    return meta
                waited = time.monotonic() - began
                if timeout is not None and waited >= timeout:
                    raise exceptions.TimeoutError("The operation timed out.")
                if on_interval:
                    on_interval()
                if waited > PATIENCE and not warned:
                    warned = True
                    self._warn_if_unconsumed(task_id)
                left = FALLBACK if timeout is None else min(FALLBACK, timeout - waited)
                if bell is not None:
                    bell.wait(left)
                else:
                    time.sleep(min(left, pause))
                    pause = min(interval, pause * 1.5)
        finally:
            if bell is not None:
                bell.close()

    def _hear(self, task_id: str, timeout: float | None) -> dict[str, Any] | None:
        """The meta of a task that this thread has just sent, if it ends in a moment."""
        bell = self.reply_bell and self.reply_bell.of(task_id)
        if not bell or not bell.wait(BRIEF if timeout is None else min(BRIEF, timeout)):
            return None
        try:
            meta: dict[str, Any] = self._get_task_meta_for(task_id)
        except UnreadableError:  # wait_for says so, or tries again
            return None
        if meta["status"] == states.SUCCESS:
            self._cache[task_id] = meta
        return meta if meta["status"] in states.READY_STATES else None

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Celery is about to send a task."""
        if self.reply_bell is not None:
            self.reply_bell.note(task_id)

    def get_many(  # noqa: PLR0917 - Celery's signature
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Any = None,
        on_interval: Any = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Wait for tasks to end, and give each as it does; for ``ResultSet.iter_native``.

        :raises celery.exceptions.TimeoutError: when some did not end in time.
        """
        self._ensure_not_eager()
        left = set(task_ids)
        end = None if timeout is None else time.monotonic() + timeout
        while left:
            looked = iter(tuple(left))
            while some := list(islice(looked, BATCH)):
                for task_id in self.ready_among(some):
                    meta = self.get_task_meta(task_id)
                    left.discard(task_id)
                    if on_message is not None:
                        on_message(meta)
                    yield task_id, meta
                if left and end is not None and time.monotonic() >= end:
                    raise exceptions.TimeoutError("The operation timed out.")
            if left:
                if on_interval:
                    on_interval()
                time.sleep(min(interval, FALLBACK / 10))

    def sweep_waiters(self) -> None:
        """Take away what callers of :meth:`wait_for` left behind that were killed."""
        if self._ringer is not None:
            self._ringer.sweep()

    def bell(self, task_id: str) -> Bell | None:
        """A bell under the task's name, for whoever stores its result to ring."""
        if self._ringer is None or not AVAILABLE:
            return None
        try:
            return Bell(self._ringer.directory, bell_name(task_id))
        except OSError:  # another thread waits for the same task, or the path is too long
            return None

    def _warn_if_unconsumed(self, task_id: str) -> None:
        if self._file is None:
            return
        try:
            with self._file.connection() as db:
                queue = broker_queries.queue_of(db, task_id)
                consumers = broker_queries.consumers(db, queue) if queue else []
        except StorageError:  # no broker in this file; and a hint must not end a wait
            return
        locks = self._file.beside("locks")
        if queue and not any(liveness.is_alive(locks, process.lock) for process in consumers):
            logger.warning(
                "Task %s waits in queue %r, which no worker consumes: start one with"
                " `flask celery worker -Q %s`",
                task_id,
                queue,
                queue,
            )
