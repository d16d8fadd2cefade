"""The base of URLs built in tasks: carried from the request that enqueued, or configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import flask

if TYPE_CHECKING:
    from celery.app.task import Context
    from werkzeug.routing import MapAdapter

    from .celery_app import FlaskCelery

#: The message header that carries the URL root of the request, e.g. ``https://shop.example/app/``.
HEADER = "celeriac_url_root"


def carry(celery_app: FlaskCelery, options: dict[str, Any]) -> None:
    """Add the URL root of the current request, or of the running task, to a message's headers.

    What the caller put into ``headers`` stays. Nothing is carried where a base is configured.
    """
    headers = options.get("headers")
    if headers and HEADER in headers:
        return
    root = here(celery_app)
    if root is not None:
        options["headers"] = {**(headers or {}), HEADER: root}


def here(celery_app: FlaskCelery) -> str | None:
    """The URL root that a message sent here and now carries."""
    if celery_app.url_base is not None:
        return None
    return _of_request(celery_app) or _of_running_task(celery_app)


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


def _of_request(celery_app: FlaskCelery) -> str | None:
    if not flask.has_request_context():
        return None
    if flask.current_app.extensions.get("celery") is not celery_app:
        return None
    request = flask.request
    return f"{request.scheme}://{request.host}{request.script_root}/"


def _of_running_task(celery_app: FlaskCelery) -> str | None:
    """Chains, callbacks and chords are sent by the worker after the task's context is gone."""
    task = celery_app.current_worker_task
    return carried(task.request) if task is not None and task.app is celery_app else None
