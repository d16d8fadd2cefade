"""The routes: start a sum, and read it."""

from __future__ import annotations

import json
from typing import Any

from celery import Task
from flask import Flask, current_app, request, url_for
from flask.typing import ResponseReturnValue
from kombu.exceptions import OperationalError
from werkzeug.exceptions import HTTPException

from flask_celeriac import current_celeriac

#: What JavaScript can still count.
LARGEST = 2**53 - 1


def add_routes(app: Flask, add_together: Task[Any, Any]) -> None:
    """Let clients add two numbers in the background.

    :param add_together: the task that does it
    """

    @app.post("/sums")
    def start() -> ResponseReturnValue:
        numbers = [request.form.get(name, type=int) for name in ("a", "b")]
        if not all(number is not None and abs(number) <= LARGEST for number in numbers):
            error = f"send a form with a and b, whole numbers from {-LARGEST} to {LARGEST}"
            return {"error": error}, 400
        task_id = add_together.delay(*numbers).id
        return {"id": task_id}, 202, {"Location": url_for("show", task_id=task_id)}

    @app.get("/sums/<task_id>")
    def show(task_id: str) -> ResponseReturnValue:
        result = add_together.AsyncResult(task_id)
        state, value = result.state, result.result
        body: dict[str, Any] = {"id": task_id, "state": state}
        if state == "PENDING" and is_unknown(task_id):
            return {"error": f"there is no sum {task_id}: POST /sums starts one"}, 404
        if state == "SUCCESS":
            body["sum"] = value
        elif isinstance(value, Exception):
            body["error"] = f"{type(value).__name__}: {value}"
        return body

    app.register_error_handler(OperationalError, out_of_reach)
    app.register_error_handler(HTTPException, refuse)


def is_unknown(task_id: str) -> bool:
    """Whether nobody has ever heard of a task; Celery itself cannot tell."""
    return "celeriac" in current_app.extensions and current_celeriac.is_unknown(task_id)


def out_of_reach(error: Exception) -> ResponseReturnValue:
    """What a client hears when the broker, or where results are, does not answer."""
    current_app.logger.error("The queue does not answer: %s", error)
    message = "the queue does not answer just now: nothing was started, send it again later"
    return {"error": message}, 503, {"Retry-After": "5"}


def refuse(error: HTTPException) -> ResponseReturnValue:
    """Flask's own errors, in JSON too."""
    response = error.get_response()
    response.data = json.dumps({"error": error.description})
    response.content_type = "application/json"
    return response
