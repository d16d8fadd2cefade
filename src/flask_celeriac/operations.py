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
    file = _embedded_file(celery_app.conf)
    if file is None:
        return False
    from .records.backend import Backend, in_queue  # costly, and of no use on other brokers

    backend = celery_app.backend
    if not isinstance(backend, Backend) or not _leave_traces(celery_app):
        return False
    # In this order: a task is recorded before it leaves the queue.
    return in_queue(file, task_id) is False and not backend.has_record(task_id)


def _embedded_file(conf: Any) -> sqlite.File | None:
    """The embedded broker's file, None where tasks go to, or come from, anywhere else."""
    urls = {str(conf.broker_read_url), str(conf.broker_write_url)}
    url = urls.pop()
    if urls or not url.startswith("celeriac:"):
        return None
    from .broker.store import store_at
    from .sqlite import path_of

    try:
        store = store_at(path_of(url))
        store.open()
    except StorageError:
        return None
    return store.file


def _leave_traces(celery_app: FlaskCelery) -> bool:
    """Whether every task is in the queue until it has ended, and is recorded then."""
    conf: Any = celery_app.conf
    if conf.task_always_eager and not conf.task_store_eager_result:
        return False
    return all(task.acks_late for task in celery_app.tasks.values())
