"""A task as it changes, in Server-Sent Events."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import flask
from werkzeug.exceptions import ServiceUnavailable

from .. import fork_gate, operations
from ..operations.watching import as_text, watcher_of
from ..records.task_record import as_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..celery_app import FlaskCelery
    from ..operations.watching import Change
    from ..records.task_record import TaskRecord
    from .context import Api

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx would wait for a full buffer
}


@dataclass(frozen=True)
class Limits:
    """How many streams there may be, and for how long.

    :param connections: in one process; each of them holds a thread of the web server
    :param life: seconds after which a stream ends, for its client to come again
    :param heartbeat: seconds of silence after which a comment is sent: what is between may close
        silent connections, and a client that has gone is noticed
    :param again: seconds after which a client comes again
    """

    connections: int = 100
    life: float = 300.0
    heartbeat: float = 15.0
    again: float = 2.0


LIMITS = Limits()


def events(api: Api, task_id: str) -> flask.Response:
    """A task as it changes, as Server-Sent Events."""
    api.task(task_id)
    return events_response(api.celery, task_id, Limits(connections=api.hooks.streams))


def events_response(
    celery_app: FlaskCelery, task_id: str, limits: Limits = LIMITS
) -> flask.Response:
    """The answer to a client that wants to hear of a task until it has ended.

    Whether they may is for the caller to decide, before.

    :raises UnknownTaskError: there is no such task
    :raises RecordsDisabledError: nothing is recorded
    :raises werkzeug.exceptions.ServiceUnavailable: there are too many of them already

    .. versionadded:: 0.1
    """
    operations.find(celery_app, task_id)
    _streams.begin(limits)
    last = flask.request.headers.get("Last-Event-ID")
    response = flask.Response(stream(celery_app, task_id, last, limits), headers=_HEADERS)
    response.call_on_close(_streams.end)
    return response


def stream(
    celery_app: FlaskCelery,
    task_id: str,
    last_event_id: str | None = None,
    limits: Limits = LIMITS,
) -> Iterator[str]:
    """A task as it is, and again whenever it has changed, until it has ended.

    What a client missed in between is not repeated: the newest state is what counts.

    :param last_event_id: what the client has already
    """
    end = time.monotonic() + limits.life
    yield f"retry: {limits.again * 1000:.0f}\n\n"
    with closing(watcher_of(celery_app).watch(task_id)) as watch:
        while (left := end - time.monotonic()) > 0:
            change = watch.change(min(left, limits.heartbeat))
            if change is None:
                yield ":\n\n"
                continue
            task = change.task
            if task is not None and change.version != last_event_id:
                yield _event("task", change.version, _text(celery_app, change, task))
            if task is None or task.ended:
                state = as_text({"state": task.state if task else None})
                yield _event("end", change.version, state)
                return


def _text(celery_app: FlaskCelery, change: Change, task: TaskRecord) -> str:
    told = operations.with_result(celery_app, task) if task.ended else task
    return change.text if told is task else as_text(as_json(told))


def _event(kind: str, version: str, text: str) -> str:
    return f"id: {version}\nevent: {kind}\ndata: {text}\n\n"


class _Streams:
    """The streams of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0

    def begin(self, limits: Limits) -> None:
        with self._lock:
            if self._open >= limits.connections:
                raise ServiceUnavailable(
                    "Too many clients follow tasks here: ask again later, or with ?wait=20.",
                    retry_after=int(limits.heartbeat) or 1,
                )
            self._open += 1

    def end(self) -> None:
        with self._lock:
            self._open -= 1


_streams = _Streams()
fork_gate.in_child(_streams.__init__)  # type: ignore[misc]
