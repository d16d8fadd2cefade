"""A solo worker that is stopped at once leaves its task to others."""

from __future__ import annotations

import os
from typing import Any

from celery import bootsteps
from celery.concurrency import solo
from celery.exceptions import WorkerTerminate


class _SoloPool(solo.TaskPool):
    """Celery's, with a way to end the task that is running."""

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Called by the handler of the signal that interrupts the task, above it on the stack."""
        raise WorkerTerminate(os.EX_OK if hasattr(os, "EX_OK") else 0)


class ColdStop(bootsteps.Step):
    """Worker step by which a cold shutdown ends a solo worker's task and gives its message back.

    Celery's own solo pool knows no way to end a task. What says so is raised inside the task, which
    then has failed and is acknowledged.

    .. versionadded:: 0.1
    """

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        if worker.pool_cls is solo.TaskPool:
            worker.pool_cls = _SoloPool
