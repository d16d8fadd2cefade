"""``inspect scheduled`` and ``inspect query_task`` know the tasks that wait in the embedded file.

On other brokers a task with an ``eta`` waits in a worker's memory, which is where Celery's commands
look. These add what waits in the queues that the worker consumes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from celery import bootsteps
from celery.worker import control as _control

from .. import verification
from ..celery_app import FlaskCelery
from .request import CeleryRequest, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Celery's stubs do not know its commands.
control: Any = _control

#: Tasks in one answer, at most: those that are due first.
LIMIT = 1000
#: What Celery gives as the priority of a task that waits; it says nothing about the message.
PRIORITY = 6


class Scheduled(bootsteps.Step):
    """Worker step that is there for this module to be imported, which registers the commands.

    .. versionadded:: 0.1
    """


def scheduled(state: Any, **kwargs: Any) -> list[dict[str, Any]]:
    """List of currently scheduled ETA/countdown tasks."""
    in_memory: list[dict[str, Any]] = control.scheduled(state, **kwargs)
    in_file = [
        {"eta": request.eta.isoformat(), "priority": PRIORITY, "request": request.info()}
        for request in _waiting(state)
        if request.eta
    ]
    return in_memory + in_file


def query_task(state: Any, ids: Sequence[str] | str, **kwargs: Any) -> dict[str, Any]:
    """Query for task information by id."""
    wanted = [ids] if isinstance(ids, str) else list(ids)
    in_file = {request.id: ("scheduled", request.info()) for request in _waiting(state, wanted)}
    return {**in_file, **control.query_task(state, wanted, **kwargs)}


def _waiting(state: Any, task_ids: Sequence[str] | None = None) -> Iterator[Any]:
    """The requests that waiting messages will become, where the broker keeps them in a file."""
    consumer = state.consumer
    waiting = getattr(consumer.task_consumer.channel, "waiting_messages", None)
    if waiting is None:
        return
    # The commands are the process's: it may also have a worker of an application of plain Celery.
    ours = isinstance(state.app, FlaskCelery)
    request = Request if ours else CeleryRequest
    for message in waiting(LIMIT, task_ids):
        if ours and verification.complaint(state.app, message) is not None:
            continue
        try:
            yield request(message, app=state.app, hostname=consumer.hostname)
        except Exception:  # noqa: BLE001, S112 - what this worker could not run, whatever it is
            continue


control.inspect_command(alias="dump_schedule")(scheduled)
control.inspect_command(variadic="ids", signature="[id1 [id2 [... [idN]]]]")(query_task)
