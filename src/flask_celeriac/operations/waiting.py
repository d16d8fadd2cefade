"""Waiting for the end of a task, also of one whose result nobody wants."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from . import tasks
from .results import with_result
from .sources import sources_of
from .watching import watcher_of

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery
    from ..doorbell import Bell
    from ..records.task_record import TaskRecord

#: Seconds between two looks while the bell is silent.
LOOK = 0.5


def wait(app: FlaskCelery, task_id: str, timeout: float) -> TaskRecord:
    """A task when it has ended, or as it is when the time is over.

    :param timeout: seconds
    :raises UnknownTaskError: there is no such task
    """
    return with_result(app, _wait(app, task_id, timeout))


def _wait(app: FlaskCelery, task_id: str, timeout: float) -> TaskRecord:
    task = tasks.find(app, task_id)
    if task.ended or timeout <= 0:
        return task
    end = time.monotonic() + timeout
    bell = _bell(app, task_id)
    if bell is None:
        return _watched(app, task, end)
    with closing(bell):
        while True:
            # What is recorded counts: the message of a task that failed stays for a moment.
            recorded = tasks.find_record(app, sources_of(app), task_id)
            if recorded is not None and recorded.ended:
                return recorded
            left = end - time.monotonic()
            if left <= 0:
                return tasks.find(app, task_id)
            bell.wait(min(left, LOOK))


def _bell(app: FlaskCelery, task_id: str) -> Bell | None:
    """What rings at the end of a task, None where nothing does, or for somebody else."""
    from ..records.waiting import Waiting  # costly, and of no use on other brokers

    return app.backend.bell(task_id) if isinstance(app.backend, Waiting) else None


def _watched(app: FlaskCelery, task: TaskRecord, end: float) -> TaskRecord:
    """As all of this process who wait or follow share the looks, many of them cost little."""
    with closing(watcher_of(app).watch(task.id)) as watch:
        while not task.ended and (left := end - time.monotonic()) > 0:
            change = watch.change(left)
            if change is not None and change.task is None:
                return tasks.find(app, task.id)  # which says that it is gone
            if change is not None and change.task is not None:
                task = change.task
    return task
