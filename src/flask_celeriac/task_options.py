"""What ``@celeriac.task`` is given, looked at before a task is sent or run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import celery
from celery.utils.time import rate

from .config import warn
from .errors import ConfigError
from .spelling import closest

#: The options that Celery's tasks and ours have, for who has mistyped one. Others become attributes
#: of the task, as in Celery.
KNOWN = (
    *("name", "base", "bind", "typing", "serializer", "compression", "ignore_result"),
    *("queue", "exchange", "exchange_type", "routing_key", "delivery_mode", "priority"),
    *("max_retries", "default_retry_delay", "autoretry_for", "dont_autoretry_for"),
    *("retry_kwargs", "retry_backoff", "retry_backoff_max", "retry_jitter", "throws"),
    *("rate_limit", "time_limit", "soft_time_limit", "expires", "acks_late", "acks_on_timeout"),
    *("acks_on_failure", "acks_on_failure_or_timeout", "reject_on_worker_lost", "track_started"),
    *("store_errors_even_if_ignored", "send_events", "resultrepr_maxsize", "trail", "pydantic"),
    *("unique", "concurrency", "rate", "http", "labels", "redact", "max_attempts"),
)
#: How alike an unknown option is to one of these if it is taken to be that, mistyped.
_ALIKE = 0.8


def check(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that can never work with their values, and warn of mistyped ones.

    :param name: the task's, for the message
    :raises ConfigError: an option can never work with its value
    """
    for option, value in options.items():
        if option not in KNOWN and not hasattr(celery.Task, option):
            close = closest(option, KNOWN, cutoff=_ALIKE)
            if close is not None and not hasattr(options.get("base"), option):
                warn(
                    f"{name}: there is no task option {option}=, which becomes an attribute of the"
                    f" task: did you mean {close}=?"
                )
        fits, wanted = _TAKES.get(option, (_anything, ""))
        if value is not None and not fits(value):
            raise ConfigError(f"{name}: {option}={value!r}: give {wanted}.")


def _anything(value: object) -> bool:
    return True


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_time(value: Any) -> bool:
    number = value.total_seconds() if isinstance(value, timedelta) else value
    return isinstance(number, (int, float)) and not isinstance(value, bool) and number >= 0


def _is_limit(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and rate(value) >= 0
    except (KeyError, TypeError, ValueError):
        return False


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _are_words(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset)) and all(
        isinstance(word, str) and word and word.isprintable() for word in value
    )


_COUNT = (_is_count, "a whole number of 0 or more, or None")
_TIME = (_is_time, "a number of seconds")
_FLAG = (_is_flag, "True or False")
_TAKES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_retries": _COUNT,
    "max_attempts": _COUNT,
    "time_limit": _TIME,
    "soft_time_limit": _TIME,
    "default_retry_delay": _TIME,
    "rate_limit": (_is_limit, "a number a second, or a text such as '10/s', '100/m' or '5/h'"),
    "http": _FLAG,
    "acks_late": _FLAG,
    "ignore_result": _FLAG,
    "labels": (_are_words, "a list of words, such as ['nightly']"),
    "priority": (lambda value: _is_count(value) and value <= 255, "a number from 0 to 255"),
}
