"""The application that is shut down: its processes read where they work from the environment."""

from __future__ import annotations

import os
import time
from typing import Any

from flask import Flask

from flask_celeriac import Celeriac
from tests.system.ledger import Ledger
from tests.system.tasks import LEDGER

BROKER = "CELERIAC_TEST_SHUTDOWN_BROKER"
DATABASE = "CELERIAC_TEST_SHUTDOWN_DATABASE"
FOLDER = "CELERIAC_TEST_SHUTDOWN_FOLDER"
#: Which tasks it has: those of the old code, those of the new, or all.
VERSION = "CELERIAC_TEST_SHUTDOWN_VERSION"


def make(environ: dict[str, str]) -> Any:
    """The Celery of a new application."""
    flask_app = Flask("shutdown", instance_path=environ[FOLDER])
    settings: dict[str, Any] = {"task_default_queue": "shutdown", "worker_hijack_root_logger": True}
    if environ.get(BROKER):
        settings["broker_url"] = environ[BROKER]
    if environ.get(DATABASE):
        flask_app.config["CELERIAC_DATABASE"] = environ[DATABASE]
    flask_app.config["CELERY"] = settings
    celeriac = Celeriac()
    for version in ("old", "new"):
        if environ.get(VERSION, version) == version:
            celeriac.task(name=f"shutdown.{version}")(work)
    celeriac.init_app(flask_app)
    return flask_app.extensions["celery"]


def work(number: int, seconds: float) -> int:
    """Sleep, and say so in the ledger before and after."""
    ledger = Ledger(os.environ[LEDGER])
    ledger.write("start", number)
    time.sleep(seconds)
    ledger.write("end", number)
    ledger.close()
    return number


if FOLDER in os.environ:
    app = make(dict(os.environ))
