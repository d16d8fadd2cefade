"""The same application with a pasted ``make_celery``: nothing in it is ours but a URL."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery
from flask import Flask, current_app
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError
from sums import add_routes, out_of_reach

import flask_celeriac  # noqa: F401 - makes the scheme celeriac:// known

# Celery waits for a server that is away, for twenty seconds and more. That is right in a worker;
# whoever asked for a page is told sooner. One configuration is for both here, so that a worker,
# too, gives up a result that it cannot store at once. Our own function tells them apart.
TRY_ONCE_MORE = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
SOON = {
    "BROKER_CONNECTION_TIMEOUT": 0.5,  # seconds
    "BROKER_TRANSPORT_OPTIONS": TRY_ONCE_MORE,
    "CELERY_TASK_PUBLISH_RETRY_POLICY": TRY_ONCE_MORE,
    "CELERY_REDIS_SOCKET_CONNECT_TIMEOUT": 0.3,
    "CELERY_REDIS_SOCKET_TIMEOUT": 0.5,
    "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS": {"retry_policy": TRY_ONCE_MORE},
}


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
    **SOON,
)
celery = make_celery(flask_app)


@celery.task()
def add_together(a: int, b: int) -> int:
    """Add two numbers."""
    current_app.logger.info("%s adds %s and %s", current_app.name, a, b)
    return a + b


add_routes(flask_app, add_together)


@flask_app.errorhandler(RedisError)
@flask_app.errorhandler(RuntimeError)
def results_out_of_reach(error: Exception) -> ResponseReturnValue:
    """Redis keeps the results and does not answer; of some calls Celery makes a RuntimeError."""
    if isinstance(error, RedisError) or isinstance(error.__cause__, RedisError):
        answer: ResponseReturnValue = out_of_reach(error)
        return answer
    raise error
