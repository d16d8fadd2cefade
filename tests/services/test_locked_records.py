"""Records that cannot be written cost a task a moment, and nothing else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask

from flask_celeriac import Celeriac, operations
from flask_celeriac.database import engine_for
from flask_celeriac.errors import UnknownTaskError
from flask_celeriac.records.task_record import TaskRecord
from tests.support.processes import wait_for

from .conftest import MakeApp, working

DATABASES = {"postgres_url": "postgresql+psycopg", "mariadb_url": "mysql+pymysql"}
LOCKS = {
    "postgresql": "LOCK TABLE celeriac_record IN ACCESS EXCLUSIVE MODE",
    "mysql": "LOCK TABLES celeriac_record WRITE",
}

celeriac = Celeriac()
ran = threading.Event()


@celeriac.task(name="locked.run", ignore_result=True)
def run() -> None:
    celeriac.progress(1, 2)
    ran.set()


@pytest.fixture(params=DATABASES)
def app(request: pytest.FixtureRequest, make_app: MakeApp, redis_url: str) -> Iterator[Flask]:
    url: str = request.getfixturevalue(request.param)
    database = f"{DATABASES[request.param]}:" + url.partition(":")[2]
    app = make_app(CELERIAC_DATABASE=database, CELERY={"broker_url": redis_url})
    app.config["CELERY"].pop("result_backend")
    celeriac.init_app(app)
    yield app
    app.extensions["celery"].close()
    engine_for(database).dispose()


@contextmanager
def locked(app: Flask) -> Iterator[None]:
    """Somebody has the table of the records for himself."""
    engine = engine_for(app.config["CELERIAC_DATABASE"])
    with engine.connect() as connection:
        connection.exec_driver_sql(LOCKS[engine.dialect.name])
        try:
            yield
        finally:
            if engine.dialect.name == "mysql":
                connection.exec_driver_sql("UNLOCK TABLES")
            connection.rollback()


def test_a_locked_table_stops_no_task(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    celery: Any = app.extensions["celery"]
    operations.list_tasks(celery)  # which makes the tables
    ran.clear()
    with working(app):
        with caplog.at_level(logging.WARNING), locked(app):
            with app.app_context():
                task_id = run.delay().id
            assert ran.wait(60), "the task waits for its record"
        said = caplog.text
        task = wait_for(lambda: ended(celery, task_id), "the end to be recorded")
    assert f"Task {task_id} cannot be recorded just now" in said
    assert f"The progress of task {task_id} is not recorded" in said
    assert (task.state, task.progress_current, task.name) == ("succeeded", 1.0, "locked.run")


def ended(celery: Any, task_id: str) -> TaskRecord | None:
    try:
        task = operations.show(celery, task_id)
    except UnknownTaskError:  # its sending is not recorded
        return None
    return task if task.ended else None
