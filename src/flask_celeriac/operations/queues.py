"""What can be done with queues."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..broker import task_queries as queue_queries
from ..records import task_queries
from .sources import sources_of

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery


@dataclass(frozen=True)
class Queue:
    """A queue, as it is just now. None where nobody can tell.

    :param ready: tasks that could be begun
    :param scheduled: tasks whose time has not come
    :param running: tasks that workers have
    :param oldest: seconds that the first of the ready ones has waited
    :param paused_since: when it was paused, in seconds since the epoch; None when it is not
    """

    name: str
    ready: int | None = None
    scheduled: int | None = None
    running: int | None = None
    oldest: float | None = None
    paused_since: float | None = None


def list_queues(app: FlaskCelery) -> list[Queue]:
    """The queues that are configured, that hold tasks, or that are paused, by name.

    :raises RecordsDisabledError: nothing is recorded
    """
    sources = sources_of(app)
    now = time.time()
    with sources.engine.connect() as connection:
        paused = task_queries.paused(connection)
        waiting = task_queries.queues_of_open_tasks(connection)
    found: dict[str, Queue] = {}
    if sources.queue is not None:
        with sources.queue.connection() as db:
            for row in queue_queries.queues(db):
                oldest = None if row.oldest is None else max(0.0, now - row.oldest)
                found[row.name] = Queue(row.name, row.ready, row.waiting, row.claimed, oldest)
    else:
        oldest_of = {name: first for name, _, first in waiting}
        for name in {*oldest_of, *_configured(app)}:
            first = oldest_of.get(name)
            oldest = None if first is None else max(0.0, now - first)
            found[name] = Queue(name, _size(app, name), oldest=oldest)
    empty = 0 if sources.queue is not None else None
    for name in {*_configured(app), *paused} - set(found):
        found[name] = Queue(name, empty, empty, empty)
    return [
        Queue(q.name, q.ready, q.scheduled, q.running, q.oldest, paused.get(q.name))
        for _, q in sorted(found.items())
    ]


def _configured(app: FlaskCelery) -> set[str]:
    queues: Any = app.amqp.queues
    return {str(name) for name in queues}


def _size(app: FlaskCelery, name: str) -> int | None:
    """How many messages a queue of another broker has, None where it does not say."""
    try:
        with app.connection_for_read() as connection, connection.channel() as channel:
            declared: Any = channel
            return int(declared.queue_declare(queue=name, passive=True).message_count)
    except Exception:  # noqa: BLE001 - a broker may refuse: the other figures stay true
        return None


def pause(app: FlaskCelery, name: str, *, actor: str | None = None) -> bool:
    """Let no task of a queue be begun, until it is resumed: also by workers yet to start.

    :param actor: who wanted it
    :return: False where the queue was paused before
    :raises RecordsDisabledError: nothing is recorded
    """
    with sources_of(app).engine.begin() as connection:
        changed = task_queries.pause_queue(connection, name, time.time(), actor)
    _tell(app)
    return changed


def resume(app: FlaskCelery, name: str) -> bool:
    """Let the tasks of a queue be begun again.

    :return: False where the queue was not paused
    :raises RecordsDisabledError: nothing is recorded
    """
    with sources_of(app).engine.begin() as connection:
        changed = task_queries.resume_queue(connection, name)
    _tell(app)
    return changed


def _tell(app: FlaskCelery) -> None:
    """Have the workers look: they do so by themselves, too, every few seconds."""
    app.control.broadcast("celeriac_pauses", reply=False)
