import os

from celery import Celery
from flask import Flask

celery = Celery(__name__, include=["app.tasks"])


def create_app():
    app = Flask(__name__)
    app.config["SURCHARGE"] = 0
    app.config["broker_url"] = os.environ["QUEUE_URL"]
    app.config["result_backend"] = os.environ["RESULTS_URL"]
    init_celery(celery, app)

    from app.routes import main

    app.register_blueprint(main)
    return app


def init_celery(celery, app):
    celery.conf.update(app.config)

    class ContextTask(celery.Task):
        def __call__(self, *positional, **named):
            with app.app_context():
                return self.run(*positional, **named)

    celery.Task = ContextTask
