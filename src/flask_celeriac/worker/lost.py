"""An attempt that was cut off by the death of its process is told of in the task's history."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..brokers import is_embedded
from ..records.description import CRASHES
from ..urls import records_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..celery_app import FlaskCelery

logger = logging.getLogger(__name__)


def note(app: FlaskCelery, request: Any) -> None:
    """Note the run before this one, if it was cut off; before this one is recorded.

    That is what the record says, by which a worker was at it: on the embedded broker it is told of
    runs that were stopped, and the header says it, too. Redis counts what a worker only had.
    """
    _note(app, request.id, request.retries, request.headers or {})


def note_message(app: FlaskCelery, headers: dict[str, Any]) -> None:
    """:func:`note`, where no other run follows: its message is about to become a dead letter."""
    _note(app, headers["id"], headers.get("retries"), headers)


def _note(app: FlaskCelery, task_id: str, retries: int | None, headers: dict[str, Any]) -> None:
    url = records_url(app)
    if url is None:
        return
    from ..records import description, gate_queries, task_queries

    embedded = is_embedded(app.conf)
    run = description.of_cut_off(headers) if embedded else {}
    counted = embedded and CRASHES in headers
    number = (retries or 0) + 1

    def work(connection: Any) -> None:
        task_queries.add_lost_attempt(connection, task_id, number, run, certain=counted)
        if embedded:
            gate_queries.forget_run(connection, task_id)

    _write(url, task_id, work)


def stopped(app: FlaskCelery, task_id: str) -> None:
    """A run in the embedded queue was stopped for another one to begin: it was not cut off."""
    url = records_url(app)
    if url is None or not is_embedded(app.conf):
        return
    from ..records import gate_queries

    _write(url, task_id, lambda connection: gate_queries.forget_run(connection, task_id))


def terminated(app: FlaskCelery, request: Any) -> None:
    """A run is ended as its task was taken back: the embedded queue did not know who was at it."""
    url = records_url(app)
    if url is None or not is_embedded(app.conf):
        return
    from ..records import description, gate_queries

    run = description.of_request(request)
    _write(url, request.id, lambda connection: gate_queries.tell_run(connection, request.id, run))


def _write(url: str, task_id: str, work: Callable[[Any], None]) -> None:
    from .. import brief

    try:
        brief.run(url, work)
    except Exception as error:  # noqa: BLE001 - a task is worth more than its history
        logger.warning("The lost attempt of task %s is not recorded: %s", task_id, error)
