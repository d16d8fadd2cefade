"""What a message carries beside its task: from which request it came, and its labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import flask

from . import capturing, url_base
from .errors import InvalidRequestError
from .limits import PERMIT, TICKET, WAITS
from .records.description import (
    AGAIN,
    CRASHES,
    CUT_OFF,
    LABELS,
    LONGEST_ID,
    LONGEST_LABELS,
    REQUEST_ID,
    TRACE_ID,
    UNKNOWN_SINCE,
    labels_as_text,
    labels_in,
)

if TYPE_CHECKING:
    from celery.app.task import Context

    from .celery_app import FlaskCelery

#: The headers whose values belong to the place where a message is sent, not to its task.
HEADERS = (url_base.HEADER, REQUEST_ID, TRACE_ID)
#: What a proxy or a client calls a request: anything else may be an attempt to write log lines.
_REQUEST_ID = re.compile(f"[!-~]{{1,{LONGEST_ID}}}")
#: W3C Trace Context: version, trace, parent, flags.
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

#: What is true of one message, and not of the next one of its task: that was not cut off, nor met
#: by workers that do not know it, and is not the one that an outbox sent.
_OF_MESSAGE = frozenset((CRASHES, CUT_OFF, UNKNOWN_SINCE, capturing.HEADER))
#: What is true of one attempt, however often a limit puts it off.
_OF_ATTEMPT = frozenset((TICKET, PERMIT, WAITS))
_OF_ONE = _OF_MESSAGE | _OF_ATTEMPT

_NOTHING: dict[str, str] = {}


def here(celery_app: FlaskCelery) -> dict[str, str]:
    """The :data:`HEADERS` of a message that is sent here and now.

    They are of the current request; without one, of the task that runs, so that what a task sends
    belongs to the request that sent it.
    """
    request = _request_of(celery_app)
    # Chains, callbacks and chords are sent by the worker after the task's context is gone.
    task = celery_app.current_worker_task
    if task is not None and task.app is not celery_app:
        task = None
    if request is None and task is None:
        return _NOTHING
    found = {} if task is None else _of_message(task.request)
    if request is not None:
        found |= _of_request(request)
    if celery_app.url_base is not None:
        found.pop(url_base.HEADER, None)
    return found


def carry(celery_app: FlaskCelery, options: dict[str, Any]) -> None:
    """Add to the headers of a message what it carries, and turn its labels into one.

    What the caller put into ``headers`` stays.

    :param options: the named options of ``send_task``; ``labels`` is taken out of them
    :raises InvalidRequestError: labels that cannot be any
    """
    given = options.get("headers") or {}
    task = None if _OF_ONE.isdisjoint(given) else celery_app.current_worker_task
    if given.get(capturing.HEADER) == capturing.ADOPTED:  # no header of the task that sends it
        given = options["headers"] = {**given, capturing.HEADER: 1}
    elif task is not None:
        given = options["headers"] = _of_another(given, options, task.request)
    added: dict[str, Any] = {k: v for k, v in here(celery_app).items() if k not in given}
    labels = _labels(options.pop("labels", None), "labels")
    labels = [
        *_labels(getattr(options.get("task_type"), "labels", ()), "the task's labels"),
        *labels,
    ]
    if labels:
        labels = list(dict.fromkeys([*labels_in(given), *labels]))
        if len(labels_as_text(labels)) > LONGEST_LABELS:
            raise InvalidRequestError(
                f"labels: {len(labels)} of them are too long: {LONGEST_LABELS} characters are kept"
                " of all together"
            )
        added[LABELS] = labels
    if added:
        options["headers"] = {**given, **added}


def _of_another(given: dict[str, Any], options: dict[str, Any], request: Context) -> dict[str, Any]:
    """The headers of a message that a task sends with those of its own, as for another attempt."""
    attempt = options.get("task_id"), options.get("retries") or 0
    is_same = attempt == (request.id, request.retries or 0)
    gone = _OF_MESSAGE if is_same else _OF_ONE
    kept = {name: value for name, value in given.items() if name not in gone}
    if capturing.HEADER in given:
        kept[AGAIN] = 1  # there may be two of it, as there may of the one that sends it
    return kept


def _labels(given: Any, what: str) -> list[str]:
    if not given:
        return []
    if isinstance(given, str) or not all(
        isinstance(each, str) and each and each.isprintable() for each in given
    ):
        raise InvalidRequestError(f"{what}: {given!r} is no list of words, such as ['nightly']")
    return list(given)


def _request_of(celery_app: FlaskCelery) -> flask.Request | None:
    """The current request, if it is one of this application's."""
    if not flask.has_request_context():
        return None
    if flask.current_app.extensions.get("celery") is not celery_app:
        return None
    return flask.request


def _of_request(request: flask.Request) -> dict[str, str]:
    found = {url_base.HEADER: url_base.of_request(request)}
    request_id = request.environ.get("HTTP_X_REQUEST_ID")
    if request_id and _REQUEST_ID.fullmatch(request_id):
        found[REQUEST_ID] = request_id
    trace = request.environ.get("HTTP_TRACEPARENT")
    if trace and (match := _TRACE.fullmatch(trace)):
        found[TRACE_ID] = match[1]
    return found


def _of_message(request: Context) -> dict[str, str]:
    headers = request.headers
    if not headers:
        return {}
    return {name: headers[name] for name in HEADERS if isinstance(headers.get(name), str)}
