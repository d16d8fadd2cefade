"""Records and messages made into what people are told, the two of a task into one."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import redaction, states
from ..records import description
from ..records.task_record import TaskRecord

if TYPE_CHECKING:
    from ..broker.task_queries import Message
    from ..celery_app import FlaskCelery

_SAME = (
    *("name", "queue", "priority", "attempts", "state", "status", "created", "eta", "started"),
    *("finished", "worker", "error_type", "error_message", "error_fingerprint", "root_id"),
    *("parent_id", "group_id", "chord_id", "retry_of", "schedule", "request_id", "trace_id"),
    *("progress_current", "progress_total", "progress_message"),
)
#: What a record knows of a task whose message is in the queue.
_ADDED = (
    *("created", "progress_current", "progress_total", "progress_message", "retry_of", "labels"),
    *("request_id", "trace_id", "schedule", "error_type", "error_message", "error_fingerprint"),
    *("traceback", "started", "worker", "status"),
)


def of_row(app: FlaskCelery, row: Any) -> TaskRecord:
    """The task of a record."""
    values: dict[str, Any] = {name: getattr(row, name) for name in _SAME}
    values["attempts"] = _begun(row)
    args, kwargs = shown(app, row.name, row.arguments)
    labels = tuple(json.loads(row.labels)) if row.labels else ()
    word = states.in_celery(row.state)
    # Our own backend writes it. Elsewhere it may still say that an attempt was to be repeated.
    if word is not None and row.status != word and app.recorder.writes_ends:
        values["status"] = word
    return TaskRecord(id=row.task_id, args=args, kwargs=kwargs, labels=labels, **values)


def _begun(row: Any) -> int:
    """How often a task was begun: a run that was cut off had no number of its own."""
    # The last run of a dead task is among those that were cut off.
    last = 1 if row.state == states.DEAD and row.attempts and row.lost else 0
    return int(row.attempts + row.lost - last)


def of_message(app: FlaskCelery, message: Message) -> TaskRecord:
    """The task of a message in the embedded queue."""
    headers = message.headers
    args, kwargs = shown(app, message.task, message.text)
    retries = int(headers.get("retries") or 0)
    said: dict[str, Any] = {
        **description.of_message(message.task_id, headers, message.text, message.due),
        "labels": tuple(description.labels_in(headers)),
    }
    return TaskRecord(
        id=message.task_id,
        state=_state(message, retries),
        created=message.created,
        name=message.task,
        queue=message.queue,
        priority=message.priority,
        attempts=retries + (1 if message.claim is not None else 0),
        started=None if message.claim is None else message.taken,
        worker=message.worker,
        args=args,
        kwargs=kwargs,
        **said,
    )


def _state(message: Message, retries: int) -> str:
    if message.claim is not None:
        return states.RUNNING
    if message.due is None or message.due <= time.time():
        return states.QUEUED
    return states.RETRYING if retries else states.SCHEDULED


def merged(queued: TaskRecord, recorded: TaskRecord) -> TaskRecord:
    """A task that has both a message and a record: the message knows where it is.

    But for one that has ended, and whose message is about to go.
    """
    # A failure's message is about to go, too, unless it was given back and waits once more.
    if recorded.ended and (recorded.state != states.FAILED or queued.state == states.RUNNING):
        return recorded
    known = {name: getattr(recorded, name) for name in _ADDED}
    known = {name: value for name, value in known.items() if value not in (None, ())}
    if queued.eta is None:
        known["eta"] = recorded.eta
    if queued.state == states.RUNNING and queued.started is not None:
        # What is recorded may be of the attempt before.
        known["started"] = max(queued.started, recorded.started or 0.0)
        known["worker"] = queued.worker or recorded.worker
    return replace(queued, **known, attempts=max(queued.attempts, recorded.attempts))


def shown(
    app: FlaskCelery, name: str | None, text: str | None
) -> tuple[list[Any] | None, dict[str, Any] | None]:
    """The arguments of a message's body, what looks like a secret masked."""
    raw = arguments_in(text)
    if raw is None:
        return None, None
    return redaction.shown(app, name, *raw)


def arguments_in(text: str | None) -> tuple[list[Any], dict[str, Any]] | None:
    """The arguments in a message's body, None where they cannot be read."""
    if text is None:
        return None
    from kombu.utils.json import loads

    try:
        body = loads(text)
        args, kwargs = body[0], body[1]
    except (ValueError, LookupError, TypeError):
        return None
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, dict):
        return None
    return list(args), kwargs
