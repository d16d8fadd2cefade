from flask import Blueprint, jsonify

from server.controller.tasks import wait_task

bp = Blueprint("routes", __name__)


@bp.post("/sleep/<int:sleep_time>")
def start(sleep_time):
    task = wait_task.delay(sleep_time=sleep_time)
    return jsonify(task_id=task.id, state=task.state, sleep_time=sleep_time), 202


@bp.get("/sleep/<task_id>")
def check(task_id):
    task = wait_task.AsyncResult(task_id)
    state = task.state
    body = {"task_id": task.id, "state": state}
    if state == "SUCCESS":
        body["result"] = task.get()
    return jsonify(body)
