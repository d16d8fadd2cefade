import os

from extensions import celery
from flask import Flask, jsonify
from tasks import add_together


def create_app():
    app = Flask(__name__)
    app.config["SURCHARGE"] = 0
    app.config["CELERY_BROKER_URL"] = os.environ["QUEUE_URL"]
    app.config["CELERY_RESULT_BACKEND"] = os.environ["RESULTS_URL"]
    celery.init_app(app)

    @app.post("/add/<int:a>/<int:b>")
    def start(a, b):
        return jsonify(task_id=add_together.delay(a, b).id)

    @app.get("/add/<task_id>")
    def status(task_id):
        found = add_together.AsyncResult(task_id)
        return jsonify(state=found.state, result=found.result)

    return app
