"""The tasks of the system tests, and how their Celery applications are made."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from celery import Celery, Task
from kombu import pools

import flask_celeriac.broker  # noqa: F401 - registers the transport
from flask_celeriac import sqlite
from flask_celeriac.database import engine_for
from tests.system.ledger import Ledger

#: The environment of the processes under test: their broker, their result backend if that is
#: elsewhere, their ledger, how many seconds a lease lasts for tests that outlast it, and how many
#: a worker that is stopped at once gives its tasks.
URL = "CELERIAC_TEST_URL"
BACKEND = "CELERIAC_TEST_BACKEND"
LEDGER = "CELERIAC_TEST_LEDGER"
LEASE = "CELERIAC_TEST_LEASE"
SOFT = "CELERIAC_TEST_SOFT_SHUTDOWN"

T = TypeVar("T")

#: As a Flask application on the embedded broker has them.
SETTINGS = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "result_backend_always_retry": True,
    "worker_deduplicate_successful_tasks": True,
    "worker_prefetch_multiplier": 1,
    "broker_connection_retry_on_startup": True,
    "worker_hijack_root_logger": True,
}


def make_app(url: str, *, broker: str | None = None) -> Celery:
    app = Celery("tests", broker=broker or url, backend=url, set_as_current=False)
    app.conf.update(SETTINGS)
    for step in ("cold:ColdStop", "pool_watch:PoolWatch"):  # as a Flask application's has
        app.steps["worker"].add(f"flask_celeriac.worker.{step}")
    register(app)
    return app


def stopping(task: Callable[..., T]) -> Callable[..., T]:
    """The task, whose first act is to have its worker stop at once."""

    def stop_first(*args: Any) -> T:
        os.kill(os.getppid(), signal.SIGQUIT)
        return task(*args)

    return stop_first


def register(app: Celery) -> None:
    @app.task(name="work", shared=False)
    def work(number: int, milliseconds: float) -> int:
        """Sleep, and say so in the ledger before and after."""
        ledger = Ledger(os.environ[LEDGER])
        ledger.write("start", number)
        time.sleep(milliseconds / 1000)
        ledger.write("end", number)
        ledger.close()
        return number * 2

    app.task(name="stops", shared=False)(stopping(work))

    @app.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="total", shared=False)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="fail", shared=False)
    def fail(message: str) -> None:
        raise ValueError(message)

    @app.task(name="report", shared=False, bind=True)
    def report(self: Task[..., str], state: str, path: str) -> str:
        """Say how far it is, and end when a file appears."""
        self.update_state(state=state, meta={"current": 1, "total": 2})
        while not os.path.exists(path):
            time.sleep(0.01)
        return "done"

    @app.task(name="flaky", shared=False, bind=True, max_retries=3)
    def flaky(self: Task[..., int], fails: int) -> int:
        """Fail a few times, then return how often it was retried."""
        retries = self.request.retries or 0
        if retries < fails:
            raise self.retry(countdown=0.05, exc=RuntimeError("not yet"))
        return retries

    @app.task(name="pid", shared=False)
    def pid() -> int:
        return os.getpid()


@contextmanager
def client(url: str, *, broker: str | None = None) -> Iterator[Celery]:
    """An application for this process, with nothing of it left open afterwards."""
    app = make_app(url, broker=broker)
    try:
        yield app
    finally:
        app.close()
        pools.reset()
        if url.startswith("celeriac:"):
            sqlite.file_at(sqlite.path_of(url)).close()  # with what SQLAlchemy used of it
        else:
            engine_for(url.removeprefix("celeriac+")).dispose()
