import os

from flask import Flask

from server.controller import routes, tasks


def create_app():
    return entrypoint(mode="app")


def create_celery():
    return entrypoint(mode="celery")


def entrypoint(mode):
    app = Flask(__name__)
    app.config["SURCHARGE"] = 0
    configure_celery(app, tasks.celery)
    app.register_blueprint(routes.bp)
    return app if mode == "app" else tasks.celery


def configure_celery(app, celery):
    celery.conf.broker_url = os.environ["QUEUE_URL"]
    celery.conf.result_backend = os.environ["RESULTS_URL"]
    celery_task(app, celery)
    celery.finalize()


def celery_task(app, celery):
    plain = celery.Task

    class AppContextTask(plain):
        abstract = True

        def __call__(self, *positional, **named):
            with app.app_context():
                return plain.__call__(self, *positional, **named)

    celery.Task = AppContextTask
