import os
import time

from celery import Celery
from flask import Flask, current_app, jsonify, url_for

app = Flask(__name__)
app.config["SURCHARGE"] = 0
app.config["CELERY_BROKER_URL"] = os.environ["QUEUE_URL"]
app.config["CELERY_RESULT_BACKEND"] = os.environ["RESULTS_URL"]

celery = Celery(
    app.name,
    broker=app.config["CELERY_BROKER_URL"],
    backend=app.config["CELERY_RESULT_BACKEND"],
)
celery.conf.update(app.config)


@celery.task
def send_async_email(email_data):
    with app.app_context():
        print("mailed", email_data["to"], "from", current_app.name)


@celery.task(bind=True)
def long_task(self):
    total = 3
    for step in range(total):
        meta = {"current": step, "total": total, "status": f"step {step}"}
        self.update_state(state="PROGRESS", meta=meta)
        time.sleep(0.1)
    return {"current": total, "total": total, "status": "done", "result": 42}


@app.post("/")
def index():
    send_async_email.apply_async(args=[{"to": "ada@example.com"}], countdown=0.2)
    return "", 204


@app.post("/longtask")
def longtask():
    task = long_task.apply_async()
    return jsonify({}), 202, {"Location": url_for("taskstatus", task_id=task.id)}


@app.get("/status/<task_id>")
def taskstatus(task_id):
    task = long_task.AsyncResult(task_id)
    if task.state == "PENDING":
        return jsonify(state=task.state, current=0, total=1, status="pending")
    if task.state == "FAILURE":
        return jsonify(state=task.state, current=1, total=1, status=str(task.info))
    body = {"state": task.state, **{key: task.info[key] for key in ("current", "total", "status")}}
    if "result" in task.info:
        body["result"] = task.info["result"]
    return jsonify(body)
