"""What becomes of a message that is a task of this application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.worker import strategy

from .. import verification
from ..operations.sources import records_url
from ..records.description import CRASHES
from .admission import crash_text, limit_of
from .burial import bury

if TYPE_CHECKING:
    from collections.abc import Callable

#: How often RabbitMQ has delivered a message of a quorum queue before.
DELIVERIES = "x-delivery-count"

#: Celery's stubs know only a part of it.
celery_strategy: Any = strategy


def default(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's, for messages that nothing is wrong with; others are dead letters."""
    handle = celery_strategy.default(task, app, consumer, **options)
    complaint, limit = verification.complaint, limit_of(task)
    # Where a record counts them, it does so when the next one begins.
    counter = DELIVERIES if records_url(app) is None else CRASHES

    def task_message_handler(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> Any:
        found = complaint(app, message)
        if found is None:
            headers = message.headers
            if CRASHES not in headers and counter not in headers:
                return handle(message, body, ack, reject, callbacks)
            crashes = _number(headers, counter)
            if not limit or crashes < limit:
                return handle(message, body, ack, reject, callbacks)
            found = verification.Complaint("crashed", crash_text(crashes))
        return bury(consumer, message, found.reason, found.text, forged=found.forged)

    return task_message_handler


def _number(headers: dict[str, Any], counter: str) -> int:
    """How many runs were cut off, 0 where nobody can tell."""
    # One that waits in a worker for its time is delivered anew when that stops.
    known = CRASHES if CRASHES in headers or headers.get("eta") else counter
    crashes = headers.get(known)
    return crashes if isinstance(crashes, int) else 0
