import os

from celery import shared_task
from celery.result import AsyncResult
from celery_setup import celery_init_app
from flask import Flask, current_app, request

app = Flask(__name__)
app.config.from_mapping(
    SURCHARGE=0,
    CELERY={
        "broker_url": os.environ["QUEUE_URL"],
        "result_backend": os.environ["RESULTS_URL"],
        "task_ignore_result": True,
        "beat_schedule": {"tick": {"task": "example.tick", "schedule": 0.5}},
    },
)
celery_app = celery_init_app(app)


@shared_task(ignore_result=False)
def add_together(a, b):
    return a + b + current_app.config["SURCHARGE"]


@shared_task
def tick():
    print("ticked in", current_app.name)


@app.post("/add")
def start_add():
    result = add_together.delay(request.form.get("a", type=int), request.form.get("b", type=int))
    return {"result_id": result.id}


@app.get("/result/<id>")
def task_result(id):  # noqa: A002
    result = AsyncResult(id)
    return {
        "ready": result.ready(),
        "successful": result.successful(),
        "value": result.result if result.ready() else None,
    }
