"""A producer that keeps what it is told to publish."""

from __future__ import annotations

from functools import cache
from typing import Any

import kombu

from .. import capturing
from ..capturing import Capture
from ..errors import OutboxError
from . import message

#: Its stubs name every option of a publication, which are of no interest here.
Producer: Any = kombu.Producer


@cache
def _nowhere() -> kombu.Connection:
    return kombu.Connection("memory://")


class CapturingProducer(Producer):  # type: ignore[misc]
    """Takes the place of a producer while a call is captured; speaks to no broker.

    Celery wants a producer to have a connection. This one's is everybody's, and never opened.

    .. versionadded:: 0.1
    """

    def __init__(self, capture: Capture) -> None:
        super().__init__(_nowhere(), auto_declare=False)
        self._capture = capture

    def publish(self, body: Any, **options: Any) -> None:
        """Keep a message, serialized now.

        :raises OutboxError: nobody would write it
        :raises kombu.exceptions.EncodeError: the body cannot be serialized
        """
        if capturing.current() is not self._capture:
            raise OutboxError("This producer keeps messages, and is used where nobody takes them")
        self._capture.messages.append(message.of_publication(body, **options))


def capture_for(app: Any) -> Capture:
    """A new capture, with the producer that fills it."""
    capture = Capture(app)
    capture.producer = CapturingProducer(capture)
    return capture
