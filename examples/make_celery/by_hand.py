"""The same application with a pasted ``make_celery``: nothing in it is ours but a URL."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from flask import Flask, current_app
from sums import add_routes

import flask_celeriac  # noqa: F401 - makes the scheme celeriac:// known


def make_celery(app: Flask) -> Celery[Any]:
    """A Celery that is configured as the application is, and whose tasks run in its context."""
    celery: Celery[Any] = Celery(
        app.import_name,
        broker=app.config["CELERY_BROKER_URL"],
        backend=app.config["CELERY_RESULT_BACKEND"],
    )
    celery.conf.update(app.config)
    task_class: Any = celery.Task

    class ContextTask(task_class):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery.Task = ContextTask  # type: ignore[misc]  # what Celery documents, its stubs do not
    return celery


flask_app = Flask(__name__)
embedded = f"celeriac:///{flask_app.instance_path}/celeriac/celeriac.db"
flask_app.config.update(
    CELERY_BROKER_URL=os.environ.get("CELERY_BROKER_URL", embedded),
    CELERY_RESULT_BACKEND=os.environ.get("CELERY_RESULT_BACKEND", embedded),
)
celery = make_celery(flask_app)


@celery.task()
def add_together(a: int, b: int) -> int:
    """Add two numbers."""
    current_app.logger.info("%s adds %s and %s", current_app.name, a, b)
    return a + b


add_routes(flask_app, add_together)
