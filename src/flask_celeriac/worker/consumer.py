"""The worker's consumer: what is no task of this application is not thrown away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.concurrency import solo
from celery.worker import consumer, state

from .. import verification
from . import unknown
from .burial import bury

#: Celery's stubs know only a part of it.
CeleryConsumer: Any = consumer.Consumer

logger = logging.getLogger(__name__)


#: What Celery raises where a message is not as it expects, and nobody has looked.
UNFIT = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)


class Consumer(CeleryConsumer):  # type: ignore[misc]
    """Celery's, with dead letters where that drops a message.

    .. versionadded:: 0.1
    """

    #: The thread whose acknowledgements need not wait for the event loop's next round.
    _at_once: int | None = None

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Settle a message: at once where that writes nothing yet, so that the next may follow."""
        if threading.get_ident() != self._at_once:
            return super().call_soon_ack(p, *args, **kwargs)
        p(*args, **kwargs)
        return p

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """What is called with each message that comes: it is looked at before anybody reads it."""
        transport = self.connection.transport
        embedded = transport.driver_type == "celeriac"
        self._at_once = threading.get_ident() if embedded else None
        if embedded:
            transport.runs_inline = isinstance(self.pool, solo.TaskPool)
        handle: Callable[[Any], Any] = super().create_task_handler(*args, **kwargs)
        complaint = verification.complaint

        def on_task_received(message: Any) -> Any:
            found = complaint(self.app, message)
            if found is None:
                try:
                    return handle(message)
                except UNFIT as error:
                    if message.acknowledged or _has_begun(message):
                        raise
                    return self.on_invalid_task(None, message, error)
            bury(self, message, found.reason, found.text, forged=found.forged)
            signals.task_rejected.send(sender=self, message=message, exc=None)
            return None

        return on_task_received

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """A message has no task in it."""
        logger.error("A message is no task and is put away")
        bury(self, message, "unknown_message", "It is no message of Celery's: it names no task")
        signals.task_rejected.send(sender=self, message=message, exc=None)

    def on_invalid_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """A message cannot become a task."""
        logger.error("A message is no valid task and is put away: %s", exc, exc_info=exc)
        bury(self, message, "invalid", f"It cannot be made a task: {exc}")
        signals.task_rejected.send(sender=self, message=message, exc=exc)

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """The body of a message cannot be decoded."""
        logger.error("A message cannot be decoded and is put away: %s", exc, exc_info=exc)
        bury(self, message, "undecodable", f"Its body cannot be decoded: {exc}")

    def on_unknown_task(self, body: Any, message: Any, exc: BaseException) -> None:
        """A message is of a task that this worker does not know."""
        task_id, name = message.headers.get("id"), message.headers.get("task")
        if not isinstance(task_id, str) or not isinstance(name, str):
            bury(self, message, "invalid", "It has no id, or names no task")
            return
        unknown.keep(self, message, name)
        signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=task_id)


def _has_begun(message: Any) -> bool:
    """Whether its task runs or has run, as it does at once where there are no pool processes."""
    task_id = message.headers.get("id")
    return any(request.id == task_id for request in state.active_requests)
