"""A task that this worker does not know is kept for one that does, for a while.

Where a new version is rolled out, its tasks reach workers of the old one. Such a message waits in
its place on the embedded broker, for a time that grows. Elsewhere it is sent once more after that,
and acknowledged then: it is in a queue or in a worker's hands all the time, and reaches other
workers.
"""

from __future__ import annotations

import logging
import random
import time
from typing import Any

from .. import signing
from ..errors import StorageError
from ..records import description
from ..records.description import AGAIN, UNKNOWN_SINCE
from .burial import bury, is_gone, later

#: Seconds until it is tried again: a third of the time it has waited, and within these; more or
#: less, as a worker that knows none of many tasks that come at once takes them faster than one that
#: runs them.
SHORTEST = 1.0
LONGEST = 60.0
MORE_OR_LESS = 0.5
#: Unless the application says otherwise, seconds until it is given up.
PATIENCE = 3600.0

logger = logging.getLogger(__name__)


def keep(consumer: Any, message: Any, name: str) -> None:
    """Keep a message for a worker that knows its task, or give it up when that takes too long."""
    now = time.time()
    since = message.headers.get(UNKNOWN_SINCE)
    since = since if isinstance(since, (int, float)) and since <= now else None
    if (description.moment_of(message.headers.get("eta")) or 0.0) > now:
        since = None  # nobody waits for it yet
    waited = now - (since or now)
    queue = _queue_of(consumer, message)
    patience = _patience(consumer.app)
    if queue is None or waited >= patience:
        text = (
            f"No worker knew a task called {name!r} for {waited:.0f} seconds: start one whose code"
            " declares it, or correct the name, and send it again"
        )
        bury(consumer, message, "unknown_task", text)
        return
    say = logger.warning if since is None else logger.info
    say(
        "Task %s[%s] is not known to this worker. It is kept for one that knows it, for %.0f"
        " seconds: import the module that declares it, or correct the name",
        name, message.headers.get("id"), patience - waited,
    )  # fmt: skip
    pause = min(max(SHORTEST, waited / 3), LONGEST, max(patience - waited, SHORTEST))
    pause *= random.uniform(1 - MORE_OR_LESS, 1 + MORE_OR_LESS)
    put_off = getattr(message.channel, "put_off", None)
    if put_off is not None:
        try:
            put_off(message.delivery_tag, now + pause, {UNKNOWN_SINCE: since or now, AGAIN: 1})
        except StorageError as error:
            logger.warning("A task that is not known here cannot be put off yet: %s", error)
            message.reject_log_error(logger, consumer.connection_errors, requeue=True)
        else:  # of a claim that is none any more
            message.ack_log_error(logger, consumer.connection_errors)
        return
    consumer.qos.increment_eventually()

    def again() -> None:
        if not is_gone(message):
            _send(consumer, message, queue, since or now)
            consumer.qos.decrement_eventually()

    later(consumer, pause, again)


def _send(consumer: Any, message: Any, queue: str, since: float) -> None:
    """Send a message to its queue once more, and acknowledge it."""
    headers = {**message.headers, UNKNOWN_SINCE: since, AGAIN: 1}
    headers.pop("compression", None)  # kombu has undone it
    known = {name: message.properties.get(name) for name in ("correlation_id", "reply_to")}
    if keys := consumer.app.policy.signing_keys:  # the signature was right, for another date
        content = (message.content_type, message.content_encoding)
        signed = signing.Signed(headers, content, message.body, known["reply_to"])
        headers[signing.HEADER] = signed.sign(keys)
    try:
        with consumer.app.producer_pool.acquire(block=True) as producer:
            producer.publish(
                message.body,
                exchange="",
                routing_key=queue,
                headers={key: value for key, value in headers.items() if key[:2] != "x-"},
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                priority=message.properties.get("priority"),
                delivery_mode=2,
                **{name: value for name, value in known.items() if value},
            )
    except Exception as error:  # noqa: BLE001 - whatever ails the broker, the message is in it
        logger.warning("A task that is not known here cannot be given back yet: %s", error)
        message.reject_log_error(logger, consumer.connection_errors, requeue=True)
    else:
        message.ack_log_error(logger, consumer.connection_errors)


def _queue_of(consumer: Any, message: Any) -> str | None:
    """The queue that a message came from, None where it is one of many copies."""
    came: dict[str, Any] = message.delivery_info or {}
    exchange, key = came.get("exchange"), came.get("routing_key")
    queues = consumer.app.amqp.queues.consume_from
    for queue in queues.values():
        from_here = queue.exchange.type != "fanout" and exchange == queue.exchange.name
        if from_here and (queue.routing_key == key or len(queues) == 1):
            return str(queue.name)
    return key if not exchange and key in queues else None


def _patience(app: Any) -> float:
    state = getattr(app, "celeriac", None)
    return PATIENCE if state is None else float(state.settings.options.unknown_task_patience)
