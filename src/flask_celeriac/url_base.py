"""The base of URLs built in tasks: carried from the request that enqueued, or configured."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import flask

if TYPE_CHECKING:
    from celery.app.task import Context
    from werkzeug.routing import MapAdapter

#: The message header that carries the URL root of the request, e.g. ``https://shop.example/app/``.
HEADER = "celeriac_url_root"


def carried(request: Context) -> str | None:
    """The URL root that came with a task's message."""
    headers = request.headers
    root = headers.get(HEADER) if headers else None
    return root if isinstance(root, str) else None


def adapter(flask_app: flask.Flask, root: str) -> MapAdapter | None:
    """What ``url_for`` needs in an application context to build URLs below ``root``.

    :return: ``None`` when ``root`` is not an absolute http or https URL
    """
    parts = urlsplit(root)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    host, subdomain = parts.netloc, None
    domain = flask_app.config["SERVER_NAME"]
    if flask_app.subdomain_matching and domain and host.endswith(f".{domain}"):
        host, subdomain = domain, host[: -len(domain) - 1]
    return flask_app.url_map.bind(
        host, script_name=parts.path or "/", subdomain=subdomain, url_scheme=parts.scheme
    )


def of_request(request: flask.Request) -> str:
    """The URL root of a request."""
    return f"{request.scheme}://{request.host}{request.script_root}/"
