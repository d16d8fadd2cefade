"""What becomes of a message that is a task of this application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.worker import strategy

from .. import verification
from ..records.description import CRASHES
from ..urls import records_url
from .admission import crash_text, limit_of
from .burial import bury
from .consumer import Consumer

if TYPE_CHECKING:
    from collections.abc import Callable

#: How often RabbitMQ has delivered a message of a quorum queue before.
DELIVERIES = "x-delivery-count"

#: Celery's stubs know only a part of it.
celery_strategy: Any = strategy


def default(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's, for messages that nothing is wrong with; others are dead letters."""
    handle: Callable[..., Any] = celery_strategy.default(task, app, consumer, **options)
    limit = limit_of(task)
    complaint: Callable[..., verification.Complaint | None]
    complaint = _nothing if isinstance(consumer, Consumer) else verification.complaint
    # Where a record counts them, it does so when the next one begins.
    counter = DELIVERIES if records_url(app) is None else CRASHES

    def task_message_handler(message: Any, *rest: Any, **named: Any) -> Any:
        found = complaint(app, message)
        if found is None:
            crashes = message.headers.get(CRASHES) or message.headers.get(counter)
            if not crashes or not limit or _number(crashes, message) < limit:
                return handle(message, *rest, **named)
            found = verification.Complaint("crashed", crash_text(crashes))
        return bury(consumer, message, found.reason, found.text, forged=found.forged)

    return task_message_handler


def _nothing(app: Any, message: Any) -> None:
    """The consumer has looked at the message already."""


def _number(crashes: Any, message: Any) -> int:
    """How many runs were cut off, 0 where nobody can tell."""
    if not isinstance(crashes, int):
        return 0
    # One that waits in a worker for its time is delivered anew when that stops.
    waits = message.headers.get("eta") and CRASHES not in message.headers
    return 0 if waits else crashes
