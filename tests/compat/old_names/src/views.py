from flask import Blueprint

from .models import Message
from .tasks import store

api = Blueprint("api", __name__)


@api.post("/messages/<text>")
def start(text):
    return {"task_id": store.delay(text).id}, 202


@api.get("/status/<task_id>/")
def status(task_id):
    found = store.AsyncResult(task_id)
    return {"state": found.state, "result": found.result}


@api.get("/messages/")
def messages():
    return [message.text for message in Message.query]
