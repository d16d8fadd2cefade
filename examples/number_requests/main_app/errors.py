"""Every error is an answer in JSON."""

from __future__ import annotations

import json

from flask import Flask
from kombu.exceptions import OperationalError as NoBroker
from sqlalchemy.exc import OperationalError as NoDatabase
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

RETRY_AFTER = {"Retry-After": "5"}


def init_app(app: Flask) -> None:
    app.register_error_handler(HTTPException, in_json)
    app.register_error_handler(NoBroker, no_broker)
    app.register_error_handler(NoDatabase, no_database)


def in_json(error: HTTPException) -> Response:
    response = Response.force_type(error.get_response())
    response.data = json.dumps({"error": error.description})
    response.content_type = "application/json"
    return response


def no_broker(error: Exception) -> tuple[dict[str, str], int, dict[str, str]]:
    return unavailable("The broker or the store of results")


def no_database(error: Exception) -> tuple[dict[str, str], int, dict[str, str]]:
    return unavailable("The database")


def unavailable(what: str) -> tuple[dict[str, str], int, dict[str, str]]:
    return {"error": f"{what} does not answer. Try again later."}, 503, RETRY_AFTER
