"""Open tasks that nobody has any more are sent again from their records."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

from celery import states as celery_states
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend
from kombu.utils.json import loads

from . import states
from .operations.workers import list_workers
from .records.description import AGAIN
from .records.recording import says_expired
from .urls import records_url

if TYPE_CHECKING:
    from .celery_app import FlaskCelery
    from .records.gate_queries import Open

#: Why a task is not sent again.
_NOT_SIGNED = (
    "signature: a message under its id was not signed as it should be, and is a dead letter: see"
    " who sent it, and what it asks for, before you retry this one"
)

logger = logging.getLogger(__name__)


def open_tasks(app: FlaskCelery, before: float, limit: int) -> list[Open]:
    """The tasks that are to run, or run, and have been as they are since before a moment."""
    from .database import engine_for
    from .records import gate_queries

    url = records_url(app)
    if url is None:
        return []
    with engine_for(url).connect() as connection:
        return gate_queries.open_tasks(connection, before, limit)


def may_be_lost(app: FlaskCelery, task: Open) -> bool:
    """Whether a task is one of ours whose message is there until it has ended.

    What another application records in the same database is not in our queues. Of a task that takes
    its message early, the message is missing while it runs, which its record may not say.
    """
    tasks: Any = app.tasks
    if task.name not in tasks or task.queue not in app.amqp.queues:
        return False
    return bool(tasks[task.name].acks_late)


def not_running(app: FlaskCelery, tasks: list[Open]) -> list[Open]:
    """Those of some tasks that no worker is at."""
    begun = {each.task_id for each in tasks if each.state == states.RUNNING}
    if not begun:
        return tasks
    running = {task_id for worker in list_workers(app) for task_id in worker.running}
    return [each for each in tasks if each.task_id not in begun & running]


def note_end(app: FlaskCelery, task: Open) -> bool:
    """Record how a task has ended where the result backend knows it; whether it does.

    The record may have missed it, where results go elsewhere.

    :raises Exception: it cannot be asked just now; each backend has errors of its own
    """
    backend: Any = app.backend
    if not app.recorder.writes_ends or isinstance(backend, (DisabledBackend, RPCBackend)):
        return False
    found = backend.get_task_meta(task.task_id, cache=False)
    if found["status"] not in celery_states.READY_STATES:
        return False
    state, error = states.of_celery(found["status"]), None
    if state != states.SUCCEEDED:
        error = found["result"]
        state = states.EXPIRED if says_expired(error) else state
    app.recorder.ended(task.task_id, None, state, error, found.get("traceback"))
    return True


def send_again(app: FlaskCelery, lost: Open) -> bool:
    """Send a task once more as it was sent, unless another worker does."""
    from .database import engine_for
    from .records import gate_queries, task_queries

    url = records_url(app)
    assert url is not None
    with engine_for(url).begin() as connection:
        row = task_queries.find_task(connection, lost.task_id)
        if row is None or not gate_queries.take_over(connection, lost, time.time()):
            return False
        is_forged = bool(app.policy.signing_keys) and gate_queries.is_claimed(
            connection, lost.task_id
        )
    if is_forged:
        # To send it again would be to sign it. What is recorded is no proof of who sent it.
        app.recorder.given_up(row.task_id, row.name, row.queue, row.created, _NOT_SIGNED)
        return False
    if row.name is None or row.arguments is None:
        logger.error(
            "The message of task %s was lost, and its arguments are not kept: send it again with"
            " `flask celery retry`, with arguments", lost.task_id,
        )  # fmt: skip
        return False
    args, kwargs, *more = loads(row.arguments)
    embedded, options = ([*more, {}, {}])[:2]
    logger.warning("The message of task %s[%s] was lost: it is sent again", row.name, row.task_id)
    app.send_task(row.name, args, kwargs, **_options(row, embedded or {}, options or {}))
    return True


def _options(row: Any, embedded: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """What a task was sent with, as ``send_task`` takes it."""
    headers = {**(options.get("headers") or {}), AGAIN: 1}
    labels = json.loads(row.labels) if row.labels else None
    named = {"celeriac_labels": labels, "celeriac_retry_of": row.retry_of}
    headers |= {name: value for name, value in named.items() if value}
    repeated = row.attempts if row.status == "RETRY" else max(row.attempts - 1, 0)
    known = {
        **options,
        "task_id": row.task_id,
        "queue": row.queue,
        "priority": row.priority,
        "root_id": row.root_id or row.task_id,
        "parent_id": row.parent_id,
        "group_id": row.group_id,
        "retries": repeated,
        "headers": headers,
        "link": embedded.get("callbacks"),
        "link_error": embedded.get("errbacks"),
        "chain": embedded.get("chain"),
        "chord": embedded.get("chord"),
    }
    if row.eta is not None and row.eta > time.time():
        known["countdown"] = row.eta - time.time()
    return {name: value for name, value in known.items() if value is not None}
