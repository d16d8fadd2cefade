"""A task that is taken back stays so: its record says so before any worker hears of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from celery.app.task import Context
from celery.exceptions import TaskRevokedError
from kombu.utils.json import loads

from . import states
from .operations.sources import embedded_store
from .records import description
from .urls import records_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .broker.store import Store
    from .broker.task_queries import Message
    from .celery_app import FlaskCelery

#: Seconds for which a worker that starts is told of revocations, and how many of them.
KEPT = 7 * 86400.0
MOST = 50_000
#: Ids looked at in one transaction.
BATCH = 500


def record(app: FlaskCelery, ids: Sequence[str], *, terminate: bool = False) -> None:
    """Record that tasks are taken back, and take them out of the embedded queue.

    What has ended stays as it is, and so does what runs unless it is to be ended; should its
    worker die, the embedded queue knows. An id that nobody knows is recorded all the same: a task
    that is sent under it later does not run.

    :param terminate: those that run are to be ended, too
    """
    url = records_url(app)
    if url is None:
        return
    for first in range(0, len(ids), BATCH):
        _record(app, url, ids[first : first + BATCH], terminate)


def _record(app: FlaskCelery, url: str, ids: Sequence[str], terminate: bool) -> None:
    from .broker import task_queries as queue_queries
    from .database import engine_for
    from .records import gate_queries, task_queries, write_queries

    store = embedded_store(app.conf)
    queued = {} if store is None else _queued(store, ids)
    had: list[str] = []
    now = time.time()
    with engine_for(url).begin() as connection:
        known = task_queries.find_tasks(connection, ids)
        for task_id in ids:
            row, message = known.get(task_id), queued.get(task_id)
            runs = message.claim is not None if message else row and row.state == states.RUNNING
            if runs and not terminate:
                had.append(task_id)
                continue
            values = {} if message is None else _of_message(message)
            values |= {"task_id": task_id, "state": states.REVOKED, "status": "REVOKED"}
            result = _result(app, "terminated" if runs else "revoked")
            values |= {"result": result, "finished": now, "updated": now}
            write_queries.write(connection, values)
        revoked = gate_queries.in_state(connection, ids, states.REVOKED)
    if store is not None:
        with store.file.transaction() as db:
            for task_id in had:
                queue_queries.mark(db, task_id, description.REVOKED)
            gone = [each for each in revoked if queue_queries.remove(db, each)]
        for task_id in gone:
            if task_id in queued:
                _tell(app, queued[task_id])
    for task_id in revoked:
        ring = getattr(app.backend, "ring", None)
        if ring is not None:
            ring(task_id)


def _queued(store: Store, ids: Sequence[str]) -> dict[str, Message]:
    """The messages of some tasks; nobody has those that a worker had which was killed."""
    from .broker import membership

    found = _messages(store, ids)
    claimed = any(message.claim is not None for message in found.values())
    return _messages(store, ids) if claimed and membership.reap(store) else found


def _messages(store: Store, ids: Sequence[str]) -> dict[str, Message]:
    from .broker import task_queries as queue_queries

    with store.file.connection() as db:
        found = ((each, queue_queries.find_message(db, each)) for each in ids)
        return {each: message for each, message in found if message is not None}


def _of_message(message: Message) -> dict[str, Any]:
    """What the record keeps of a message that goes: somebody may want to send it again."""
    known = ("queue", "priority", "created")
    values: dict[str, Any] = {name: getattr(message, name) for name in known}
    values["name"] = message.task
    headers, text = message.headers, message.text
    values |= description.of_message(message.task_id, headers, text, message.due)
    # How often it was begun; its worker adds when that was, and who it is.
    values["attempts"] = int(headers.get("retries") or 0) + (message.claim is not None) or None
    if text is not None and len(text) <= description.LONGEST_ARGUMENTS:
        values["arguments"] = text
    return values


def _tell(app: FlaskCelery, message: Message) -> None:
    """Tell the chord of a task that left its queue: no worker will."""
    if not isinstance(message.body, str) or '"chord":' not in message.body:
        return
    args, kwargs, embedded = loads(message.body)
    if embedded.get("chord"):
        headers = loads(message.envelope)["headers"]
        request = Context({**headers, **embedded, "args": args, "kwargs": kwargs})
        backend: Any = app.backend
        backend.mark_as_revoked(message.task_id, "revoked", request=request, store_result=False)


def _result(app: FlaskCelery, said: str) -> str | None:
    """What ``AsyncResult.get()`` raises, where the results are in the records."""
    backend: Any = app.backend
    pack = getattr(backend, "pack", None)
    if pack is None:
        return None
    return str(pack(backend.encode_result(TaskRevokedError(said), "REVOKED")))


def recent(app: FlaskCelery) -> list[str]:
    """The tasks that were taken back lately, for a worker that was not there."""
    from . import brief
    from .records import gate_queries

    url, since = records_url(app), time.time() - KEPT
    if url is None:
        return []
    return brief.run(url, lambda db: gate_queries.newest(db, states.REVOKED, since, MOST))
