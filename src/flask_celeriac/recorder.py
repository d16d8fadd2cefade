"""Records of tasks that go to another broker than the embedded one, whose queue is no record.

A row before the task is sent, and one more write when it begins; the result backend writes its
end. A write that fails is told in the log, and stops nothing.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from celery import states as celery_states
from kombu.utils.json import dumps
from kombu.utils.uuid import uuid

from . import states
from .records import description, write_queries
from .records.recording import LONGEST_ARGUMENTS
from .urls import records_url

if TYPE_CHECKING:
    from .celery_app import FlaskCelery

#: Seconds for which nothing is tried after the database was out of reach.
REST = 5.0

logger = logging.getLogger(__name__)


class Recorder:
    """Writes what becomes of an application's tasks before they end.

    .. versionadded:: 0.1
    """

    def __init__(self, app: FlaskCelery) -> None:
        conf: Any = app.conf
        self._app = app
        embedded = str(conf.broker_write_url or "").startswith("celeriac:")
        self._url = None if embedded else records_url(app)
        self._rests_until = 0.0

    @property
    def is_needed(self) -> bool:
        """Whether there is a database for records, and no queue that is one."""
        return self._url is not None

    def sent(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> None:
        """A task is about to be sent; it gets an id, if it has none.

        :param options: the named options of ``send_task``
        """
        task_id = options.get("task_id")
        if not task_id:
            task_id = options["task_id"] = uuid()
        now = time.time()
        eta = description.moment_of(options.get("eta"))
        if eta is None and options.get("countdown"):
            eta = now + float(options["countdown"])
        repeated = (options.get("retries") or 0) > 0
        waiting = states.RETRYING if repeated else states.SCHEDULED
        values = {
            "task_id": task_id,
            "state": waiting if eta is not None and eta > now else states.QUEUED,
            "status": celery_states.RETRY if repeated else None,
            "name": name,
            "queue": self._queue(name, args, kwargs, options),
            "priority": options.get("priority"),
            "attempts": options.get("retries") or None,
            "arguments": _text(args, kwargs),
            "created": now,
            "eta": eta,
            "updated": now,
            **_lineage(task_id, options),
            **description.of_headers(options.get("headers") or {}),
        }
        self._write(values)

    def started(self, request: Any) -> None:
        """A worker begins a task."""
        values = description.of_request(request)
        values |= {
            "task_id": request.id,
            "state": states.RUNNING,
            "queue": (request.delivery_info or {}).get("routing_key"),
            "arguments": _text(request.args, request.kwargs),
            "updated": time.time(),
        }
        self._write(values)

    def _queue(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> str | None:
        keys = ("queue", "routing_key", "exchange")
        wanted: dict[str, Any] = {key: options[key] for key in keys if key in options}
        try:
            queue = self._app.amqp.router.route(wanted, name, args, kwargs).get("queue")
        except Exception:  # noqa: BLE001 - sending it will say so
            return None
        return getattr(queue, "name", queue)

    def _write(self, values: dict[str, Any]) -> None:
        if self._url is None or time.monotonic() < self._rests_until:
            return
        from . import brief

        try:
            brief.write(self._url, lambda connection: write_queries.write(connection, values))
        except Exception as error:  # noqa: BLE001 - a task is worth more than its record
            self._rests_until = time.monotonic() + REST
            logger.warning("Task %s cannot be recorded just now: %s", values["task_id"], error)


def _text(args: Any, kwargs: Any) -> str | None:
    try:
        text = dumps([list(args or ()), dict(kwargs or {})])
    except (TypeError, ValueError):
        return None
    return text if len(text) <= LONGEST_ARGUMENTS else None


def _lineage(task_id: str, options: dict[str, Any]) -> dict[str, Any]:
    found = {"group_id": options.get("group_id")}
    for key in ("root_id", "parent_id"):
        if options.get(key) != task_id:
            found[key] = options.get(key)
    if options.get("chord"):
        found["chord_id"] = options.get("group_id")
    return found
