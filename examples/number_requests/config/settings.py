"""Paths and settings. Broker and results are named by CELERY_BROKER_URL and CELERY_RESULT_BACKEND;
without them, a file in ``instance/`` does for both."""

from __future__ import annotations

import os
from pathlib import Path

from celery.schedules import crontab


def number(name: str, default: int) -> int:
    """A whole number from the environment.

    :raises ValueError: naming the variable, when it is not one
    """
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise ValueError(f"{name}={text!r} has to be a whole number, such as {default}.")
    return int(text)


ROOT = Path(__file__).resolve().parents[1]
PROCESSINGS = ROOT / "processings"
DB_PATH = ROOT / "instance" / "number_requests.db"

PORT = number("PORT", 5000)
# Where the periodic tasks, which no request sent, find the web server.
CELERIAC_URL_BASE = f"http://127.0.0.1:{PORT}"

SQLALCHEMY_DATABASE_URI = os.environ.get("SQLALCHEMY_DATABASE_URI") or f"sqlite:///{DB_PATH}"
# Web server and workers write to the same file and wait for each other; a connection to a server
# may have been closed since it was used last.
SQLALCHEMY_ENGINE_OPTIONS = (
    {"connect_args": {"timeout": 30}}
    if SQLALCHEMY_DATABASE_URI.startswith("sqlite")
    else {"pool_pre_ping": True}
)

MAX_CONTENT_LENGTH = 2**20
MAX_NUMBERS = 10_000
# So long a number may be "doing"; a processing is ended after half of it.
LEASE_SECONDS = number("NUMBER_REQUESTS_LEASE", 300)

_every = number("NUMBER_REQUESTS_SECONDS", 0) or crontab(minute="*")

#: Settings of Celery under their own names, which go straight into Flask's configuration.
celery_settings = {
    "imports": ("main_app.tasks.tasks",),
    "timezone": "utc",
    "result_persistent": False,
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ["json"],
    "beat_schedule_filename": str(ROOT / "instance" / "beat-schedule"),
    "beat_schedule": {
        "periodic_sum": {"task": "main_app.tasks.tasks.sum_task", "schedule": _every},
        "periodic_mul": {"task": "main_app.tasks.tasks.mul_task", "schedule": _every},
    },
}
