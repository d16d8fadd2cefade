"""The applications of the workers under test: ours on Redis, and one that knows nothing of us."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from celery import Celery
from flask import Flask

from flask_celeriac import Celeriac
from tests.system.ledger import Ledger
from tests.system.tasks import LEDGER, URL, register

#: The environment of the processes under test: options of the transport, and whether it is
#: Celery's own.
OPTIONS, STOCK = "CELERIAC_TEST_OPTIONS", "CELERIAC_TEST_STOCK"


def make_ours(url: str, **options: Any) -> Celery:
    """A Flask application on Redis."""
    flask_app = Flask("shop")
    flask_app.config["CELERY"] = {
        "broker_url": url,
        "task_ignore_result": True,
        "broker_transport_options": options,
    }
    Celeriac(flask_app)
    return with_tasks(flask_app.extensions["celery"])


def make_stocks(url: str, **options: Any) -> Celery:
    """A Celery of the same tasks."""
    app = Celery("tests", broker=url, set_as_current=False)
    app.conf.update(
        broker_transport_options=options,
        broker_connection_retry_on_startup=True,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
    )
    return with_tasks(app)


def with_tasks(app: Celery) -> Celery:
    register(app)

    @app.task(name="survive", shared=False, bind=True)
    def survive(self: Any, number: int) -> None:
        """Wait to be killed, the first time."""
        ledger = Ledger(os.environ[LEDGER])
        ledger.write("start", number)
        if (self.request.headers or {}).get("celeriac_crashes") != 1:
            time.sleep(600)
        ledger.write("end", number)
        ledger.close()

    @app.task(name="hold", shared=False, bind=True)
    def hold(self: Any, number: int, path: str) -> None:
        """Wait for a file; say whether a worker is said to have died of it."""
        ledger = Ledger(os.environ[LEDGER])
        ledger.write("start", number)
        if "celeriac_crashes" in (self.request.headers or {}):
            ledger.write("crash", number)
        while not os.path.exists(path):
            time.sleep(0.01)
        ledger.write("end", number)
        ledger.close()

    return app


def from_environment() -> Celery:
    make = make_stocks if STOCK in os.environ else make_ours
    return make(os.environ[URL], **json.loads(os.environ.get(OPTIONS, "{}")))
