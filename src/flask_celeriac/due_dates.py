"""Dates and time limits that are farther away than the broker waits for an acknowledgement."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celery.utils.time import maybe_iso8601

from . import brokers
from .errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .celery_app import FlaskCelery

logger = logging.getLogger(__name__)

_FAR = (
    "%s is to start in %s, but without claims Redis gives a message that was not acknowledged for "
    "%s to another worker: it would run about %d times. Keep the date in a table and send the task "
    'when it is due, or raise broker_transport_options["visibility_timeout"], for which the task '
    "of a killed worker waits, too."
)
_LONG = {
    "redis": (
        "%s may run for %s, but without claims Redis gives a message that was not acknowledged for "
        "%s to another worker, while the first still runs it. Raise "
        'broker_transport_options["visibility_timeout"] above the time limit, or lower that.'
    ),
    "rabbitmq": (
        "%s may run for %s, but unless it was set to more, RabbitMQ closes the channel of a worker "
        "that has not acknowledged a message for %s, and gives the task to another. Raise "
        "consumer_timeout in rabbitmq.conf, or the queue's x-consumer-timeout on RabbitMQ 3.12 or "
        "newer, above the time limit, or lower that."
    ),
}


def check(name: str, options: Mapping[str, Any]) -> None:
    """Refuse dates that are none, which Celery and brokers stumble over.

    :param options: the named options of ``send_task``
    :raises InvalidRequestError: ``eta`` or ``expires`` is a text, and no date
    """
    for option in ("eta", "expires"):
        given = options.get(option)
        if not isinstance(given, str):
            continue
        try:
            maybe_iso8601(given)
        except ValueError:
            raise InvalidRequestError(
                f"{name}: {option}={given!r} is no date: give a datetime with its time zone, or a"
                " text such as '2026-11-25T08:00:00+00:00'"
            ) from None


def look(app: FlaskCelery, name: str, countdown: Any, eta: Any) -> None:
    """Say once for each task that a date is too far away for kombu's transport on Redis.

    :param countdown: seconds until the task is due
    :param eta: when it is, as Celery takes it
    """
    if not (countdown or eta) or name in app.told or brokers.kind_of(app.conf) != "redis":
        return
    limit = brokers.redelivery_after(app.conf)
    seconds = _seconds(app, countdown, eta)
    if limit and seconds is not None and seconds > limit:
        app.told.add(name)
        logger.warning(_FAR, name, _words(seconds), _words(limit), 1 + seconds // limit)


def look_at_limits(app: FlaskCelery) -> None:
    """Say which tasks may run for longer than the broker waits for them."""
    conf: Any = app.conf
    limit = brokers.redelivery_after(conf)
    if not limit:
        return
    text = _LONG[brokers.kind_of(conf)]
    if (conf.task_time_limit or 0) > limit:
        logger.warning(text, "A task", _words(conf.task_time_limit), _words(limit))
    tasks: dict[str, Any] = dict(app.tasks)
    for name, task in sorted(tasks.items()):
        own: float = task.time_limit or 0
        if task.acks_late and limit < own != conf.task_time_limit:
            logger.warning(text, name, _words(own), _words(limit))


def _seconds(app: FlaskCelery, countdown: Any, eta: Any) -> float | None:
    if countdown:
        return float(countdown)
    if not isinstance(eta, (datetime, str)):
        return None  # Celery says what is wrong with it
    eta = maybe_iso8601(eta)
    if eta.tzinfo is None:
        eta = eta.replace(tzinfo=timezone.utc)  # as workers take it
    seconds: float = (eta - datetime.now(timezone.utc)).total_seconds()
    return seconds


def _words(seconds: float) -> str:
    """A span of time as people say it."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.0f} seconds"
