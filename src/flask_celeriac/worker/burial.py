"""A worker takes a message off its queue when it has become a dead letter, and not before."""

from __future__ import annotations

import logging
from typing import Any

from .. import dead_letters

#: Seconds until it is tried again to store a dead letter.
REST = 5.0

logger = logging.getLogger(__name__)


def bury(consumer: Any, message: Any, reason: str, text: str, *, forged: bool = False) -> None:
    """Make a message a dead letter, and acknowledge it.

    While it cannot be stored the message is held, so that it is in its queue still should the
    worker die; it is tried again and again.

    :param consumer: the worker's consumer that received it
    :param reason: one word for lists and programs
    :param text: a sentence for people
    :param forged: nothing that it says of itself is believed
    """
    if _stored(consumer, message, reason, text, forged):
        message.ack_log_error(logger, consumer.connection_errors)
        return
    consumer.qos.increment_eventually()  # as for a task that waits for its time

    def again() -> None:
        if is_gone(message):
            return
        if _stored(consumer, message, reason, text, forged):
            message.ack_log_error(logger, consumer.connection_errors)
            consumer.qos.decrement_eventually()
        else:
            later(consumer, REST, again)

    later(consumer, REST, again)


def is_gone(message: Any) -> bool:
    """Whether the connection that a message came by is gone: it comes again then."""
    channel = message.channel
    closed = getattr(channel, "closed", False) or channel.connection is None
    return bool(message.acknowledged or closed)


def later(consumer: Any, seconds: float, call: Any) -> None:
    """Do something in a while: where messages are received, not in a timer's own thread."""
    consumer.timer.call_after(seconds, consumer.call_soon, (call,))


def _stored(consumer: Any, message: Any, reason: str, text: str, forged: bool) -> bool:
    try:
        dead_letters.bury(consumer.app, message, reason, text, forged=forged)
    except Exception as error:  # noqa: BLE001 - whatever ails the store, the message is kept
        logger.error(
            "A message that cannot be run (%s) cannot be put away yet, it is kept: %s", text, error
        )
        return False
    return True
