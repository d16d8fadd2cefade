from flask import Flask, jsonify

from project.celery_utils import make_celery
from project.config import Config


def create_app():
    app = Flask(__name__)
    app.config.from_object(Config)
    app.celery = make_celery(app)

    from project.tasks import divide

    @app.post("/divide/<int:x>/<int:y>")
    def start(x, y):
        return jsonify(task_id=divide.delay(x, y).id)

    @app.get("/divide/<task_id>")
    def status(task_id):
        found = divide.AsyncResult(task_id)
        return jsonify(state=found.state, result=found.result)

    return app
