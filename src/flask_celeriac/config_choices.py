"""Settings of Celery whose values are names, and what else Celery reads only in its worker."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from .errors import ConfigError
from .spelling import did_you_mean


def timezone(value: Any, where: str) -> Any:
    """The name as the time zone database writes it, so that it is found on every system."""
    if isinstance(value, (int, float, bytes, list, tuple, set, frozenset, Mapping)):
        raise ConfigError(f"{where}: timezone takes a name such as 'Europe/Berlin', not {value!r}")
    if not isinstance(value, str) or value in ("", "UTC"):
        return value
    names = _time_zones()
    known = names.get(value.strip().casefold())
    # No database at all (Windows without tzdata): nothing to compare with.
    if known or not names:
        return known or value
    otherwise = "give a name such as 'Europe/Berlin'"
    hint = did_you_mean(value.casefold(), names, otherwise, written=lambda name: repr(names[name]))
    raise ConfigError(f"{where}: there is no time zone {value!r}: {hint}")


@cache
def _time_zones() -> dict[str, str]:
    return {name.casefold(): name for name in zoneinfo.available_timezones()}


def _pool(value: Any, where: str) -> None:
    """A pool's name, or where its class is, as in ``module:Class``."""
    from celery.concurrency import get_available_pool_names

    names = list(get_available_pool_names())
    if not isinstance(value, str) or value in ("", *names) or ":" in value or "." in value:
        return
    hint = did_you_mean(value.lower(), names, f"there are {', '.join(names)}")
    raise ConfigError(f"{where}: there is no worker_pool {value!r}: {hint}")


def _rate(value: Any, where: str) -> None:
    """How many tasks in which time, as in ``"10/m"``."""
    from celery.utils.time import rate

    with suppress(KeyError, TypeError, ValueError):
        if not isinstance(value, bool) and rate(value) >= 0:
            return
    raise ConfigError(
        f"{where}: task_default_rate_limit takes a number a second, or a text such as '10/s',"
        f" '100/m' or '5/h', not {value!r}"
    )


def _routes(value: Any, where: str) -> None:
    """Mappings, functions or the paths of functions, one or a list of them."""
    from celery.app.routes import prepare

    with suppress(TypeError, ValueError):
        routes: list[Any] = prepare(value)
        if all(callable(route) or hasattr(route, "route_for_task") for route in routes):
            return
    raise ConfigError(
        f"{where}: task_routes takes a mapping such as {{'shop.*': {{'queue': 'shop'}}}}, a"
        f" function or its path, or a list of these, not {value!r}"
    )


def _queues(value: Any, where: str) -> None:
    """Queues by their names, or a list of kombu's."""
    from kombu import Queue

    fits = Mapping if isinstance(value, Mapping) else Queue
    each = value.values() if isinstance(value, Mapping) else value
    if isinstance(each, Iterable) and all(isinstance(one, (fits, Queue)) for one in each):
        return
    raise ConfigError(
        f"{where}: task_queues takes a list of kombu.Queue, or a mapping from names to mappings,"
        f" such as {{'mail': {{}}}}, not {value!r}"
    )


def _one_of(name: str, *values: Any) -> Callable[[Any, str], None]:
    def check(value: Any, where: str) -> None:
        if value not in values or isinstance(value, bool):
            choice = ", ".join(map(repr, values[:-1])) + f" or {values[-1]!r}"
            raise ConfigError(f"{where}: {name} takes {choice}, not {value!r}")

    return check


def _something(name: str, wanted: str) -> Callable[[Any, str], None]:
    def check(value: Any, where: str) -> None:
        if not value:
            raise ConfigError(f"{where}: {name} takes {wanted}, not {value!r}")

    return check


def check_limits(values: Mapping[str, Any], origins: Mapping[str, object]) -> None:
    """Refuse a soft time limit that the hard one comes before.

    :raises ConfigError: so it is; Celery says so when the first task is sent
    """
    soft, hard = (values.get(name) for name in ("task_soft_time_limit", "task_time_limit"))
    if soft and hard and soft > hard:
        raise ConfigError(
            f"{origins['task_soft_time_limit']}: task_soft_time_limit is {soft}, more than the"
            f" {hard} of task_time_limit: a task would be killed before it is told"
        )


#: What looks at a value that has its type already, by the name of the setting.
CHECKS: dict[str, Callable[[Any, str], None]] = {
    "accept_content": _something("accept_content", "one format at least, such as ['json']"),
    "task_default_delivery_mode": _one_of(
        "task_default_delivery_mode", 1, 2, "transient", "persistent"
    ),
    "task_default_queue": _something("task_default_queue", "the name of a queue"),
    "task_default_rate_limit": _rate,
    "task_protocol": _one_of("task_protocol", 1, 2),
    "task_queues": _queues,
    "task_routes": _routes,
    "worker_pool": _pool,
}

#: Options of transports in which a slip is told: those of Redis, RabbitMQ, the embedded broker and
#: of every connection.
TRANSPORT_OPTIONS = frozenset(
    {
        "ack_emulation",
        "body_encoding",
        "callback",
        "claims",
        "client_name",
        "client_properties",
        "confirm_publish",
        "connect_retries_timeout",
        "connect_timeout",
        "confirm_timeout",
        "deadletter_queue",
        "durability",
        "errback",
        "fanout_patterns",
        "fanout_prefix",
        "global_keyprefix",
        "health_check_interval",
        "heartbeat",
        "interval_max",
        "interval_start",
        "interval_step",
        "lease",
        "login_method",
        "master_name",
        "max_connections",
        "max_retries",
        "min_other_sentinels",
        "on_blocked",
        "on_unblocked",
        "polling_interval",
        "priority_steps",
        "queue_order_strategy",
        "read_timeout",
        "reauth_check_interval",
        "retry_errors",
        "retry_on_timeout",
        "retry_policy",
        "sentinel_kwargs",
        "sentinel_fanout_compat",
        "sep",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_keepalive_options",
        "socket_settings",
        "socket_timeout",
        "unacked_index_key",
        "unacked_key",
        "unacked_mutex_expire",
        "unacked_mutex_key",
        "unacked_restore_interval",
        "unacked_restore_limit",
        "unacked_restore_throttle",
        "visibility_timeout",
        "write_timeout",
    }
)
