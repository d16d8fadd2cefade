"""The HTTP interface: start a task, and ask how it is."""

from __future__ import annotations

from typing import Any

from celery.states import EXCEPTION_STATES, PENDING, SUCCESS
from flask import Blueprint, abort, url_for

from flask_celeriac import current_celeriac

from .tasks import sample_task

blueprint = Blueprint("task", __name__)


@blueprint.get("/")
def index() -> dict[str, str]:
    """Tell that the server is there."""
    return {"status": "success"}


@blueprint.post("/task/", strict_slashes=False)
def start() -> tuple[dict[str, str], int, dict[str, str]]:
    """Send a task, and say where it can be asked for."""
    task = sample_task.delay()
    location = url_for(".show", task_id=task.id)
    return {"task_id": task.id, "state": PENDING}, 202, {"Location": location}


@blueprint.get("/task/<task_id>")
def show(task_id: str) -> dict[str, Any]:
    """Tell a task's state, and what it returned or why it did not."""
    task = sample_task.AsyncResult(task_id)
    state = task.state
    if state == PENDING and current_celeriac.is_unknown(task_id):
        abort(404, "There is no such task: POST /task/ starts one and answers with its id.")
    answer: dict[str, Any] = {"task_id": task_id, "state": state}
    if state == SUCCESS:
        answer["result"] = task.result
    elif state in EXCEPTION_STATES:
        answer["error"] = f"{task.result!r}: see the worker's log; POST /task/ starts another."
    return answer
