"""Which broker a configuration names, and what follows from it."""

from __future__ import annotations

from typing import Any, Literal

Kind = Literal["embedded", "redis", "rabbitmq", "other"]

_SCHEMES: dict[str, Kind] = {
    "celeriac": "embedded",
    "redis": "redis",
    "rediss": "redis",
    "sentinel": "redis",
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "pyamqp": "rabbitmq",
}

#: Seconds after which a broker gives a message that nobody has acknowledged to another worker:
#: ``visibility_timeout`` of kombu's transport for Redis, and RabbitMQ's own ``consumer_timeout``.
UNACKNOWLEDGED: dict[Kind, float] = {"redis": 3600, "rabbitmq": 1800}


def kind_of(conf: Any) -> Kind:
    """The broker of a Celery configuration.

    :param conf: ``celery.conf``
    """
    return kind_of_url(conf.broker_read_url or conf.broker_write_url, conf.broker_transport)


def kind_of_url(url: Any, transport: str | None = None) -> Kind:
    """The broker behind a URL, or behind the first of several.

    :param url: what ``broker_url`` may be: a URL, several with ``;`` between, a list, or a host
    :param transport: what to assume of a host without a scheme
    """
    return _SCHEMES.get(_scheme(url, transport), "other")


def is_embedded(conf: Any) -> bool:
    """Whether the broker of a Celery configuration is the embedded one."""
    return kind_of(conf) == "embedded"


def claims_on_redis(conf: Any) -> bool:
    """Whether Redis is reached through our transport, which renews what a living worker has.

    Sentinels and ``broker_transport_options={"claims": False}`` leave it to kombu's.

    :param conf: ``celery.conf``
    """
    url = conf.broker_read_url or conf.broker_write_url
    return _scheme(url, conf.broker_transport) in {"redis", "rediss"} and uses_claims(
        conf.broker_transport_options
    )


def uses_claims(options: dict[str, Any] | None) -> bool:
    """Whether options of a transport leave claims on, which need acknowledgements."""
    options = options or {}
    return bool(options.get("claims", True) and options.get("ack_emulation", True))


def _scheme(url: Any, transport: str | None) -> str:
    first = url if isinstance(url, str) else next(iter(url or ()), "")
    scheme, separator, _ = str(first).partition("://")
    name = scheme if separator else transport or "amqp"
    return name.partition("+")[0].lower()


def redelivery_after(conf: Any) -> float | None:
    """Seconds after which an unacknowledged message runs a second time, if the broker does that.

    For RabbitMQ it is what its manual says, as the server does not tell what it was set to.
    """
    kind = kind_of(conf)
    options: dict[str, Any] = conf.broker_transport_options or {}
    seconds = UNACKNOWLEDGED.get(kind)
    if claims_on_redis(conf):
        return None
    if kind == "redis":
        seconds = options.get("visibility_timeout", seconds)
    return None if seconds is None else float(seconds)
