"""The routes. Each one that starts a task answers 202 with the task's id."""

from __future__ import annotations

from typing import Any

from celery.result import AsyncResult
from celery.states import PROPAGATE_STATES, SUCCESS
from flask import Blueprint, abort, request, url_for
from sqlalchemy import select

from flask_celeriac import current_celeriac
from main_app.extensions import db
from main_app.models.models import Request
from main_app.tasks import tasks

from . import bodies

pages = Blueprint("pages", __name__)


@pages.get("/")
def index() -> dict[str, str]:
    return {
        "POST /number_request": "store {rid, numbers, jobtodo}, or echo any other text",
        "GET /number_request?rid=": "look a request up",
        "GET /check_request?taskID=": "what became of a task",
        "POST /update_request": "note {numbers_id, numbers, jobtodo_new, result}",
    }


@pages.post("/number_request")
def start_number_request() -> Any:
    if not request.is_json:
        return started(tasks.echo_data.delay(bodies.opaque_text()))
    arguments = bodies.number_request()
    rid = arguments["request_id"]
    # The task looks again: of two requests at the same time, one fails there.
    if db.session.scalar(select(Request.id).filter_by(request_id=rid)):
        bodies.refuse(f"There is a request with rid {rid} already: choose another rid.")
    return started(tasks.handle_number_requests.delay(**arguments))


@pages.get("/number_request")
def look_up_number_request() -> Any:
    return started(tasks.look_up_number_request.delay(bodies.rid(bodies.named("rid"))))


@pages.post("/update_request")
def update_request() -> Any:
    return started(tasks.update_number_requests.delay(**bodies.results()))


@pages.get("/check_request")
def check_request() -> dict[str, Any]:
    task_id = bodies.task_id(bodies.named("taskID"))
    if current_celeriac.is_unknown(task_id):
        abort(404, "There is no such task: it was never sent, or its result has expired.")
    task: AsyncResult[Any] = AsyncResult(task_id)
    answer: dict[str, Any] = {"taskID": task_id, "status": task.state, "response": None}
    if answer["status"] in PROPAGATE_STATES:
        answer["error"] = str(task.result)
    elif answer["status"] == SUCCESS:
        answer["response"] = task.result
    return answer


def started(task: AsyncResult[Any]) -> Any:
    return {"taskID": task.id}, 202, {"Location": url_for(".check_request", taskID=task.id)}
