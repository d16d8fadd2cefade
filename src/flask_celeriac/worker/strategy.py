"""What becomes of a message that is a task of this application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.worker import strategy

from .. import verification
from ..records.description import CRASHES
from ..urls import records_url
from . import lost
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
    complaint: Callable[..., verification.Complaint | None]
    complaint = _nothing if isinstance(consumer, Consumer) else verification.complaint
    limit, cut_off = limit_of(task), _counter(app)
    if not limit or cut_off is None:
        limit, cut_off = 1, _never

    def task_message_handler(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> Any:
        found = complaint(app, message)
        if found is None:
            number = cut_off(message.headers)
            if number < limit:
                return handle(message, body, ack, reject, callbacks)
            lost.note_message(app, message.headers)
            found = verification.Complaint("crashed", crash_text(number))
        return bury(consumer, message, found.reason, found.text, forged=found.forged)

    return task_message_handler


def _counter(app: Any) -> Callable[[dict[str, Any]], int] | None:
    """What finds in the headers of a message how many of its runs were cut off."""
    recorder = getattr(app, "recorder", None)
    if recorder is not None and recorder.is_needed:
        return None  # the record counts them, when the next one begins
    return _delivered if records_url(app) is None else _counted


def _never(headers: dict[str, Any]) -> int:
    return 0


def _counted(headers: dict[str, Any]) -> int:
    """As the embedded broker says."""
    number = headers.get(CRASHES, 0)
    return number if isinstance(number, int) else 0


def _delivered(headers: dict[str, Any]) -> int:
    """As other brokers say, which count deliveries: not all of them were begun.

    A task that waits in a worker for its time is delivered anew when that ends.
    """
    number = headers.get(CRASHES) or headers.get(DELIVERIES) or 0
    return number if isinstance(number, int) and not headers.get("eta") else 0


def _nothing(app: Any, message: Any) -> None:
    """The consumer has looked at the message already."""
