"""Every error is JSON that says what to do."""

from __future__ import annotations

from flask import Flask, Response, json, make_response
from kombu.exceptions import OperationalError
from werkzeug.exceptions import HTTPException


def init_app(app: Flask) -> None:
    """Answer an application's errors in JSON."""
    app.register_error_handler(HTTPException, refused)
    app.register_error_handler(OperationalError, unavailable)


def refused(error: HTTPException) -> Response:
    """Werkzeug's answer with its headers, such as ``Allow``, and JSON in place of the page."""
    response = make_response(error.get_response())
    response.data = json.dumps({"error": error.description})
    response.content_type = "application/json"
    return response


def unavailable(error: OperationalError) -> tuple[dict[str, str], int, dict[str, str]]:
    """The broker or the store of results is out of reach."""
    text = "Background tasks are not available just now; try again in a few seconds."
    return {"error": text}, 503, {"Retry-After": "5"}
