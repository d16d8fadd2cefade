from celery.result import AsyncResult
from flask import Blueprint

from app import celery

main = Blueprint("main", __name__)


@main.get("/<word>")
def start(word):
    from app.tasks import make_text

    return {"id": make_text.delay(word).id}


@main.get("/result/<task_id>")
def result(task_id):
    found = AsyncResult(task_id, app=celery)
    return {"state": found.state, "result": found.result}
