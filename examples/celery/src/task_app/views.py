"""Start a task and answer with its id; by the id, tell what became of it."""

from __future__ import annotations

import re
from typing import Any

from celery.result import AsyncResult
from celery.states import PENDING, READY_STATES, SUCCESS
from flask import Blueprint, request
from werkzeug.exceptions import BadRequest, NotFound

from flask_celeriac import current_celeriac

from . import tasks

api = Blueprint("api", __name__)
bp = Blueprint("tasks", __name__, url_prefix="/tasks")

#: The sum of two such numbers is exact in JavaScript, too.
LARGEST = 2**52
#: How long the bar may get.
LONGEST = 100
#: A name and a domain as mail servers take them, without what means something in a mail's head.
ADDRESS = re.compile(r"[!#-'*+\-./0-9=?A-Z^-~]{1,64}@[\w-]+(\.[\w-]+)*", re.ASCII)


@api.get("/add/<int:x>/<int:y>")
def add(x: int, y: int) -> dict[str, str]:
    return {"id": tasks.add.delay(within(0, x, LARGEST), within(0, y, LARGEST)).id}


@api.get("/send_email/<to>/<subject>/<body>")
def send_email(to: str, subject: str, body: str) -> dict[str, str]:
    if not ADDRESS.fullmatch(to):
        raise BadRequest("The recipient has to be one address, such as ada@example.com.")
    if not subject.isprintable():
        raise BadRequest("A subject is one line: leave out line breaks and control characters.")
    return {"id": tasks.send_email.delay(to, subject, body).id}


@api.get("/result/<task_id>")
def result(task_id: str) -> dict[str, Any]:
    state, value, error = outcome(task_id)
    return {"id": task_id, "state": state, "result": value, **error}


@bp.get("/result/<task_id>", endpoint="result")
def result_of_form(task_id: str) -> dict[str, Any]:
    state, value, error = outcome(task_id)
    ready = state in READY_STATES
    successful = state == SUCCESS if ready else None
    return {"ready": ready, "successful": successful, "value": value, **error}


@bp.post("/add", endpoint="add")
def add_form() -> dict[str, str]:
    a, b = (number(name, -LARGEST, LARGEST) for name in "ab")
    return {"result_id": tasks.add.delay(a, b).id}


@bp.post("/block")
def block() -> dict[str, str]:
    return {"result_id": tasks.block.delay().id}


@bp.post("/process")
def process() -> dict[str, str]:
    return {"result_id": tasks.process.delay(number("total", 1, LONGEST)).id}


def outcome(task_id: str) -> tuple[str, Any, dict[str, str]]:
    """A task's state, what it returned or said of its progress, and why it failed.

    All of one moment: the task may go on between two looks at an ``AsyncResult``.
    """
    meta = AsyncResult(task_id).backend.get_task_meta(task_id)
    state, value = meta["status"], meta["result"]
    if state == PENDING and current_celeriac.is_unknown(task_id):
        raise NotFound("There is no task of this id; it may have ended without keeping a result.")
    if isinstance(value, BaseException):
        return state, None, {"error": f"{type(value).__name__}: {value}"}
    return state, value, {}


def number(name: str, low: int, high: int) -> int:
    """A field of the form."""
    value = request.form.get(name, type=int)
    if value is None:
        raise BadRequest(f"The field {name} has to be a whole number.")
    return within(low, value, high)


def within(low: int, value: int, high: int) -> int:
    if not low <= value <= high:
        raise BadRequest(f"A number from {low} to {high} is possible here.")
    return value
