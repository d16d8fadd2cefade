"""Whether a broker is where anybody may come by, with a door that nobody has locked."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from .brokers import kind_of_url

#: RabbitMQ's own account, which it lets in from its own machine only, unless told otherwise.
_GUEST = ("guest", "guest")


def complaints(conf: Any) -> Iterator[str]:
    """What is to be said of the servers of a Celery configuration.

    :param conf: ``celery.conf``
    """
    for key in ("broker_read_url", "broker_write_url", "result_backend"):
        urls = getattr(conf, key, None) or ()
        for url in urls.split(";") if isinstance(urls, str) else urls:
            if isinstance(url, str) and _is_open(url):
                name = "broker_url" if key.startswith("broker") else key
                yield (
                    f"Whoever reaches {urlsplit(url).hostname} can run tasks there, and read their"
                    f" arguments and results: {name} has no password for it. Set one in the server"
                    " and in the URL, use TLS (rediss://, amqps://), and see CELERIAC_SIGNING_KEYS"
                )
                break


def _is_open(url: str) -> bool:
    """Whether a server on another machine wants no password, or one that everybody knows."""
    kind = kind_of_url(url)
    if kind not in ("redis", "rabbitmq") or "://" not in url or "+socket" in url:
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or _is_here(host):
        return False
    if kind == "redis":
        return not parts.password and "password=" not in parts.query
    return not parts.password or (parts.username, parts.password) == _GUEST


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
