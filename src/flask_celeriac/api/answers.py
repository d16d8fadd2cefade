"""What a view gives back, and the response made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flask
import pydantic_core


@dataclass(frozen=True)
class Answer:
    """A response before it is one.

    :param body: plain data; None for an empty response
    """

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def respond(answer: Answer | flask.Response) -> flask.Response:
    """The response, or 304 where the client has it already."""
    if isinstance(answer, flask.Response):
        return answer
    if answer.body is None:
        return flask.Response(status=answer.status, headers=answer.headers)
    text = pydantic_core.to_json(
        answer.body, inf_nan_mode="null", bytes_mode="base64", fallback=str
    )
    response = flask.Response(text, answer.status, answer.headers, mimetype="application/json")
    response.headers.setdefault("Cache-Control", "private, no-cache")
    if answer.status == 200 and flask.request.method in ("GET", "HEAD"):
        response.add_etag()
        response.make_conditional(flask.request)
    return response
