"""What becomes of a message that is a task of this application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.worker import strategy

from .. import verification
from .burial import bury
from .consumer import Consumer

if TYPE_CHECKING:
    from collections.abc import Callable

#: Celery's stubs know only a part of it.
celery_strategy: Any = strategy


def default(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's, for messages that nothing is wrong with; others are dead letters."""
    handle: Callable[..., Any] = celery_strategy.default(task, app, consumer, **options)
    if isinstance(consumer, Consumer):  # which has looked already
        return handle
    complaint = verification.complaint

    def task_message_handler(message: Any, *rest: Any, **named: Any) -> Any:
        found = complaint(app, message)
        if found is None:
            return handle(message, *rest, **named)
        return bury(consumer, message, found.reason, found.text, forged=found.forged)

    return task_message_handler
