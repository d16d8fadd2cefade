"""A worker that is stopped at once leaves its tasks to others, and ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from celery import bootsteps
from celery.concurrency import solo
from celery.exceptions import WorkerTerminate

#: Where an event loop's worker gives tasks to its pool.
_POOL = frozenset({"celery.concurrency.asynpool", "billiard.pool"})
#: What Celery calls its handler.
_COLD = "worker_Cold"


class _SoloPool(solo.TaskPool):
    """Celery's, with a way to end the task that is running."""

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Called by the handler of the signal that interrupts the task, above it on the stack."""
        raise WorkerTerminate(os.EX_OK if hasattr(os, "EX_OK") else 0)


class ColdStop(bootsteps.StartStopStep):
    """Worker step by which a cold shutdown gives back what runs, and comes to its end.

    Celery's own solo pool knows no way to end a task. What says so is raised inside the task, which
    then has failed and is acknowledged.

    Celery does all of a cold shutdown in the handler of the signal. Where that interrupts the event
    loop as it gives a task to a pool process, the handler waits for ever for what it has
    interrupted: it is called a moment later then, by the loop.

    .. versionadded:: 0.1
    """

    requires = ("celery.worker.components:Hub", "celery.worker.components:Pool")

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        if worker.pool_cls is solo.TaskPool:
            worker.pool_cls = _SoloPool

    def start(self, parent: Any) -> None:
        """Take the place of Celery's handlers, in workers with an event loop and processes."""
        if not parent.use_eventloop or threading.current_thread() is not threading.main_thread():
            return
        for name in ("SIGQUIT", "SIGTERM"):  # the latter by REMAP_SIGTERM
            number = getattr(signal, name, None)
            handler = None if number is None else signal.getsignal(number)
            if number is not None and callable(handler) and handler.__name__ == _COLD:
                signal.signal(number, _Later(parent.hub, handler))


class _Later:
    """Handles a signal, once the pool has been given what it is being given."""

    def __init__(self, hub: Any, handler: Callable[[int, FrameType | None], Any]) -> None:
        self._hub = hub
        self._handler = handler
        self._is_due = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._is_due or not _is_in_pool(frame):
            self._handler(number, frame)
        else:
            self._is_due = True
            self._hub.call_soon(self._handler, number, None)


def _is_in_pool(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") in _POOL:
            return True
        frame = frame.f_back
    return False
