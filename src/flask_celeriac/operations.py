"""What an application asks about its tasks, whichever face it asks through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import StorageError

if TYPE_CHECKING:
    from . import sqlite
    from .celery_app import FlaskCelery


def is_unknown(celery_app: FlaskCelery, task_id: str) -> bool:
    """Whether it is certain that a task is neither queued nor running nor recorded.

    :raises RecordsUnavailableError: what is recorded cannot be read just now
    """
    from .records.backend import Backend, in_queue

    file, backend = _embedded_file(celery_app.conf), celery_app.backend
    if file is None or not isinstance(backend, Backend) or not _leave_traces(celery_app):
        return False
    # In this order: a task is recorded before it leaves the queue.
    return in_queue(file, task_id) is False and not backend.has_record(task_id)


def _embedded_file(conf: Any) -> sqlite.File | None:
    """The embedded broker's file, None where tasks go to, or come from, anywhere else."""
    from .broker.store import store_at
    from .sqlite import path_of

    urls = {str(conf.broker_read_url), str(conf.broker_write_url)}
    url = urls.pop()
    if urls or not url.startswith("celeriac:"):
        return None
    try:
        return store_at(path_of(url)).file
    except StorageError:
        return None


def _leave_traces(celery_app: FlaskCelery) -> bool:
    """Whether every task is in the queue until it has ended, and is recorded then."""
    conf: Any = celery_app.conf
    if conf.task_always_eager and not conf.task_store_eager_result:
        return False
    return all(task.acks_late for task in celery_app.tasks.values())
