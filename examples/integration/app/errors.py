"""Every error is answered in JSON; of a bug the operator is told by mail."""

from __future__ import annotations

from flask import Flask, current_app, json, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import (
    BadRequestKeyError,
    HTTPException,
    InternalServerError,
    ServiceUnavailable,
)
from werkzeug.wrappers import Response

from . import mails


def init_app(app: Flask) -> None:
    """Answer the errors of an application."""
    app.register_error_handler(HTTPException, in_json)
    app.register_error_handler(BadRequestKeyError, missing)
    app.register_error_handler(InternalServerError, bug)


def in_json(error: HTTPException) -> Response:
    """The error as it would be answered anyway, with its headers, and JSON for HTML."""
    response = error.get_response()
    response.data = json.dumps({"error": error.description})
    response.content_type = "application/json"
    return response


def missing(error: BadRequestKeyError) -> ResponseReturnValue:
    """A field of a form is not there."""
    return {"error": f"{error.args[0]}: this field of the form is missing."}, 400


async def bug(error: InternalServerError) -> ResponseReturnValue:
    """Have the operator told of what nobody expected."""
    content = f"{request.method} {request.path}: {error.original_exception!r}"
    told = "The operator has been told."
    try:
        mails.enqueue(current_app.config["OPERATOR"], content, report=False)
    except ServiceUnavailable:
        told = "Tell the operator, please: no mail can be sent just now."
    return {"error": f"This went wrong through no fault of yours. {told}"}, 500
