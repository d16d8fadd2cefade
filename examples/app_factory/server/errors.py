"""Every error is JSON that says what to do."""

from __future__ import annotations

from flask import Flask, Response, current_app, jsonify, make_response
from kombu.exceptions import OperationalError
from werkzeug.exceptions import HTTPException

from flask_celeriac.errors import StorageError


def init_app(app: Flask) -> None:
    """Answer the errors of HTTP, and those of a broker that is down, as JSON."""
    app.register_error_handler(HTTPException, refused)
    for error in (OperationalError, StorageError):
        app.register_error_handler(error, unavailable)


def refused(error: HTTPException) -> Response:
    """Keep the status and the headers, such as ``Allow``; replace the page."""
    response = make_response(error.get_response())
    response.data = jsonify(error=error.description).data
    response.mimetype = "application/json"
    return response


def unavailable(error: Exception) -> tuple[Response, int, dict[str, str]]:
    """Tell that the broker or the result backend does not answer; nothing was started."""
    current_app.logger.error("503: %s", error)
    reason = "The broker or the result backend cannot be reached: try again in a moment."
    return jsonify(error=reason), 503, {"Retry-After": "5"}
