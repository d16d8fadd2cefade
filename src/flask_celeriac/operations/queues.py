"""What can be done with queues."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kombu.exceptions import ChannelError, OperationalError

from .. import brokers
from ..broker import membership
from ..broker import task_queries as queue_queries
from ..queue_names import named_queues
from ..records import task_queries
from .listing import COUNT_CAP
from .sources import Sources, sources_of

if TYPE_CHECKING:
    from .. import sqlite
    from ..broker.store import Store
    from ..celery_app import FlaskCelery


#: Seconds for which a pause waits for the workers to leave the queue alone, and between two looks.
IN_FORCE, LOOK = 1.0, 0.005

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Queue:
    """A queue, as it is just now. None where nobody can tell.

    :param ready: tasks that could be begun
    :param scheduled: tasks whose time has not come
    :param running: tasks that workers have
    :param oldest: seconds that the first of the ready ones has waited
    :param paused_since: when it was paused, in seconds since the epoch; None when it is not
    :param at_least: those of ``ready``, ``scheduled`` and ``running`` of which there may be more:
        on the embedded broker, nobody counts further than 10,000
    """

    name: str
    ready: int | None = None
    scheduled: int | None = None
    running: int | None = None
    oldest: float | None = None
    paused_since: float | None = None
    at_least: tuple[str, ...] = ()


def list_queues(app: FlaskCelery) -> list[Queue]:
    """The queues that a setting or a task names, that hold tasks, or that are paused, by name.

    :raises RecordsDisabledError: nothing is recorded
    """
    sources = sources_of(app)
    with sources.engine.connect() as connection:
        paused = task_queries.paused(connection)
    if sources.queue is not None:
        empty = {name: Queue(name, 0, 0, 0) for name in {*named_queues(app), *paused}}
        found = empty | _embedded(sources.queue)
    else:
        found = _elsewhere(app, sources, paused)
    return [replace(queue, paused_since=paused.get(name)) for name, queue in sorted(found.items())]


def _embedded(file: sqlite.File) -> dict[str, Queue]:
    """The queues of the embedded broker that hold tasks."""
    with file.connection() as db:
        rows = queue_queries.queues(db, COUNT_CAP)
    # What is scheduled or running is looked at in all queues together.
    more = set()
    if sum(row.waiting for row in rows) > COUNT_CAP:
        more.add("scheduled")
    if sum(row.claimed for row in rows) > COUNT_CAP:
        more.add("running")
    found = {}
    for row in rows:
        figures = {"ready": row.ready, "scheduled": row.waiting, "running": row.claimed}
        at_least = tuple(
            name for name, figure in figures.items() if name in more or figure > COUNT_CAP
        )
        capped = {name: min(figure, COUNT_CAP) for name, figure in figures.items()}
        found[row.name] = Queue(row.name, oldest=_since(row.oldest), at_least=at_least, **capped)
    return found


def _elsewhere(app: FlaskCelery, sources: Sources, paused: Iterable[str]) -> dict[str, Queue]:
    """The queues of another broker: named, paused, or what recorded tasks wait in."""
    with sources.engine.connect() as connection:
        oldest = task_queries.oldest_waiting(connection)
    names = {*oldest, *named_queues(app), *paused}
    sizes = _sizes(app, names)
    return {name: Queue(name, sizes[name], oldest=_since(oldest.get(name))) for name in names}


def _since(moment: float | None) -> float | None:
    return None if moment is None else max(0.0, time.time() - moment)


def _sizes(app: FlaskCelery, names: Iterable[str]) -> dict[str, int | None]:
    """How many messages queues of another broker have, None where it does not say."""
    sizes: dict[str, int | None] = dict.fromkeys(names)
    # Redis has no empty lists.
    missing = 0 if brokers.kind_of(app.conf) == "redis" else None
    try:
        with app.connection_for_read() as connection:
            for name in sizes:
                sizes[name] = _size(connection, name, missing)
    except Exception as error:  # noqa: BLE001 - the other figures stay true
        logger.warning("The broker does not say how long its queues are: %s", error)
    return sizes


def _size(connection: Any, name: str, missing: int | None) -> int | None:
    try:
        with connection.channel() as channel:  # a new one: RabbitMQ closes it where there is none
            return int(channel.queue_declare(queue=name, passive=True).message_count)
    except ChannelError:
        return missing
    except connection.channel_errors:
        return None


def pause(app: FlaskCelery, name: str, *, actor: str | None = None) -> bool:
    """Let no task of a queue be begun, until it is resumed: also by workers yet to start.

    On the embedded broker that is in force on return, unless a worker was too busy for a second to
    hear of it; elsewhere it is a moment later.

    :param actor: who wanted it
    :return: False where the queue was paused before
    :raises RecordsDisabledError: nothing is recorded
    """
    sources = sources_of(app)
    try:
        with sources.engine.begin() as connection:
            changed = task_queries.pause_queue(connection, name, time.time(), actor)
    except task_queries.PausedMeanwhile:
        changed = False
    _tell(app)
    if sources.store is not None:
        _wait_until_left(sources.store, name)
    return changed


def _wait_until_left(store: Store, name: str) -> None:
    """Wait until no worker consumes a queue. One that runs a task itself hears of nothing."""
    end = time.monotonic() + IN_FORCE
    while membership.consumed(store, name) and time.monotonic() < end:
        time.sleep(LOOK)


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
    try:
        app.control.broadcast("celeriac_pauses", reply=False)
    except (OperationalError, OSError) as error:  # nothing comes from that broker either
        logger.warning("Workers are not told of the pauses, and will see by themselves: %s", error)
