"""What went wrong, as problem documents (RFC 9457)."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict
from typing import Any

import flask
from kombu.exceptions import EncodeError, OperationalError
from werkzeug.exceptions import HTTPException

from .. import errors
from ..database import OUT_OF_REACH

logger = logging.getLogger(__name__)

#: What a problem's ``type`` begins with.
URN = "urn:flask-celeriac:"
#: Seconds after which to ask again, where nobody knows better.
LATER = 5

#: Every kind of problem: its status, and its title.
KINDS: dict[str, tuple[int, str]] = {
    "invalid-request": (400, "The request cannot be understood"),
    "forbidden": (403, "This is not allowed"),
    "cross-site": (403, "A browser has to ask from a page of this site"),
    "not-found": (404, "There is nothing here"),
    "unknown-task": (404, "There is no such task"),
    "unknown-type": (404, "There is no task of this name that may be started"),
    "method-not-allowed": (405, "This cannot be done here"),
    "task-state": (409, "The task's state does not allow this"),
    "count-changed": (409, "The number of tasks has changed"),
    "key-in-progress": (409, "A request with this key is being answered"),
    "too-large": (413, "The request is too large"),
    "not-json": (415, "The request has to be JSON"),
    "invalid-body": (422, "The request says what cannot be"),
    "key-reused": (422, "This key was used for another request"),
    "too-many-requests": (429, "Too many requests"),
    "internal-error": (500, "Something went wrong"),
    "records-disabled": (501, "Nothing is recorded here"),
    "unavailable": (503, "The broker or the database is out of reach"),
}

_KIND_OF: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (errors.UnknownTaskError, "unknown-task"),
    (errors.UnknownTaskNameError, "unknown-type"),
    (errors.TaskStateError, "task-state"),
    (errors.CountChangedError, "count-changed"),
    ((errors.UnserializableArgumentError, errors.MessageRefusedError, EncodeError), "invalid-body"),
    (errors.RecordsDisabledError, "records-disabled"),
    ((errors.StorageError, OperationalError, *OUT_OF_REACH), "unavailable"),
)


class Problem(Exception):
    """A request cannot be answered as it was meant.

    :param kind: one of :data:`KINDS`
    :param detail: a sentence for people, with the remedy
    :param places: what is wrong where: a JSON pointer or a parameter's name, and a sentence
    :param headers: to send with it
    :param outcome: what was done until then of what was asked for
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        places: list[tuple[str, str]] | None = None,
        headers: dict[str, str] | None = None,
        outcome: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.places = places or []
        self.headers = headers or {}
        self.outcome = outcome


def later(seconds: float) -> dict[str, str]:
    """The header that says when to ask again."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def answer(error: Exception) -> flask.Response:
    """The response to a request that failed with this error."""
    if isinstance(error, HTTPException):
        return _of_http(error)
    if isinstance(error, Problem):
        return _document(error)
    if isinstance(error, errors.InvalidRequestError):
        kind = "invalid-request" if flask.request.method in ("GET", "HEAD") else "invalid-body"
        return _document(Problem(kind, str(error)))
    for types, kind in _KIND_OF:
        if isinstance(error, types):
            if kind != "unavailable":
                return _document(Problem(kind, str(error)))
            logger.warning("%s %s: %s", flask.request.method, flask.request.path, error)
            if isinstance(error, errors.PartlyDoneError):
                done = asdict(error.outcome)
                return _document(Problem(kind, str(error), headers=later(LATER), outcome=done))
            detail = "The broker or the database cannot be reached just now: try again later."
            return _document(Problem(kind, detail, headers=later(LATER)))
    logger.error("%s %s", flask.request.method, flask.request.path, exc_info=error)
    return _document(Problem("internal-error", "The server's log says more."))


def _document(problem: Problem) -> flask.Response:
    status, title = KINDS[problem.kind]
    said: dict[str, Any] = {
        "type": URN + problem.kind,
        "title": title,
        "status": status,
        "detail": problem.detail,
    }
    if problem.places:
        said["errors"] = [{"place": place, "detail": text} for place, text in problem.places]
    if problem.outcome is not None:
        said["outcome"] = problem.outcome
    return _response(said, status, problem.headers)


def _of_http(error: HTTPException) -> flask.Response:
    """What the application's own hooks raise, with the headers they gave it."""
    response = error.get_response()
    if error.response is not None or response.status_code < 400:
        return flask.Response(response.response, response.status_code, response.headers)
    headers = {
        name: value
        for name, value in response.headers.items()
        if name not in ("Content-Type", "Content-Length")
    }
    status = response.status_code
    said = {
        "type": "about:blank",
        "title": error.name,
        "status": status,
        "detail": error.description,
    }
    return _response(said, status, headers)


def _response(said: dict[str, Any], status: int, headers: dict[str, str]) -> flask.Response:
    response = flask.Response(
        flask.json.dumps(said), status, headers, mimetype="application/problem+json"
    )
    response.headers["Cache-Control"] = "no-store"
    return response
