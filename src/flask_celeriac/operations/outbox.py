"""What waits in the outbox, and what was given up there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import states
from ..errors import OutboxError
from ..records import description, task_queries
from ..records.task_record import TaskRecord
from ..urls import records_url
from . import reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Engine

    from ..celery_app import FlaskCelery
    from ..outbox.queries import Row
    from ..outbox.relay import Relay

_ALL = 1_000_000


@dataclass(frozen=True)
class DeadMessage:
    """A message that could not be published, whatever was tried.

    :param created: when its transaction wrote it, in seconds since the epoch
    :param attempts: how often it was tried
    :param reason: what went wrong the last time
    """

    task_id: str | None
    name: str | None
    queue: str | None
    created: float
    attempts: int
    reason: str


def engine_of(app: FlaskCelery) -> Engine:
    """The engine of the database with the outbox.

    :raises OutboxError: there is none
    """
    if app.on_commit is None:
        raise OutboxError
    engine = app.on_commit.find_engine()
    if engine is None:
        raise OutboxError(
            "The outbox of this application cannot be reached from here: its session is bound to a"
            " database in memory, an asynchronous driver or nothing: bind it to a file or a server"
        )
    return engine


def find(app: FlaskCelery, task_id: str) -> Row | None:
    """The message of a task in the outbox."""
    from ..outbox import queries

    relay = None if app.on_commit is None else app.on_commit.find_relay()
    if relay is None:
        return None
    with relay.engine.connect() as connection:
        return queries.find(connection, task_id)


def as_task(app: FlaskCelery, row: Row) -> TaskRecord:
    """The task of a message in the outbox."""
    from ..outbox.message import Message

    try:
        message = Message.unpack(row.message, app.amqp.queues)
    except Exception:  # noqa: BLE001 - then this is all that can be said
        message = Message("", {}, {})
    body = message.body if isinstance(message.body, str) else None
    args, kwargs = reading.shown(app, row.task, body)
    task_id = row.task_id or ""
    said = description.of_message(task_id, message.headers, body)
    said["labels"] = tuple(description.labels_in(message.headers))
    is_later = said["eta"] is not None and said["eta"] > time.time()
    waiting = states.SCHEDULED if is_later else states.QUEUED
    return TaskRecord(
        id=task_id,
        state=states.DEAD if row.due is None else waiting,
        created=row.created,
        name=row.task,
        queue=row.queue,
        priority=message.options.get("priority") or 0,
        args=args,
        kwargs=kwargs,
        error_message=row.error,
        **said,
    )


def relay_of(app: FlaskCelery) -> Relay:
    """What publishes the messages in the outbox.

    :raises OutboxError: there is none
    """
    url = engine_of(app).url.render_as_string()
    assert app.on_commit is not None
    relay = app.on_commit.find_relay()
    if relay is None:
        raise OutboxError(
            f"{url} has no table celeriac_outbox: make it with `flask celery db upgrade`"
        )
    return relay


def count_waiting(app: FlaskCelery) -> int:
    """How many messages are still to be published.

    :raises OutboxError: there is no outbox
    """
    from ..outbox import queries

    with engine_of(app).connect() as connection:
        return queries.waiting(connection)


def list_dead(app: FlaskCelery, *, limit: int = 500) -> list[DeadMessage]:
    """The messages that were given up, the oldest first.

    :raises OutboxError: there is no outbox
    """
    from ..outbox import queries

    with relay_of(app).engine.connect() as connection:
        rows = queries.dead(connection, limit)
    return [
        DeadMessage(r.task_id, r.task, r.queue, r.created, r.attempts, r.error or "") for r in rows
    ]


def retry_dead(app: FlaskCelery, ids: Sequence[str] | None = None) -> int:
    """Have messages that were given up published after all, under their ids.

    :param ids: those of their tasks; None for all messages
    :return: how many there were
    :raises OutboxError: there is no outbox
    """
    from ..outbox import queries

    engine = relay_of(app).engine
    chosen = None if ids is None else list(ids)
    with engine.connect() as connection:
        rows = queries.dead(connection, _ALL)
    known = {row.task_id for row in rows if row.task_id}
    _forget_records(app, known if chosen is None else known & set(chosen))
    with engine.begin() as connection:
        return queries.revive(connection, chosen, time.time())


def discard_dead(app: FlaskCelery, ids: Sequence[str] | None = None) -> int:
    """Delete messages that were given up; the records of their tasks stay.

    :param ids: those of their tasks; None for all messages
    :return: how many there were
    :raises OutboxError: there is no outbox
    """
    from ..outbox import queries

    with relay_of(app).engine.begin() as connection:
        return queries.discard(connection, None if ids is None else list(ids))


def take_back(app: FlaskCelery, task_id: str) -> None:
    """Delete what a task has in the outbox."""
    from ..outbox import queries

    relay = None if app.on_commit is None else app.on_commit.find_relay()
    if relay is not None:
        with relay.engine.begin() as connection:
            queries.take_back(connection, task_id)


def _forget_records(app: FlaskCelery, ids: Iterable[str]) -> None:
    """Forget that tasks are dead: nothing else could be recorded of them."""
    from ..database import engine_for

    url = records_url(app)
    if url is None:
        return
    with engine_for(url).begin() as connection:
        for task_id in ids:
            row = task_queries.find_task(connection, task_id)
            if row is not None and row.state == states.DEAD:
                task_queries.delete_task(connection, task_id)
