"""A queue that cannot be read is no empty queue: lists and answers say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.app.task import Context
from flask import Flask

from flask_celeriac import Celeriac, database, operations, sqlite
from flask_celeriac.broker import schema
from flask_celeriac.errors import StorageError
from flask_celeriac.operations.sources import embedded_store
from flask_celeriac.operations.watching import versions
from tests.services.conftest import MakeApp

TASK = "0190a5b0-0000-7000-8000-000000000000"

ASK: dict[str, Callable[[Any], object]] = {
    "list": operations.list_tasks,
    "count": operations.count,
    "queues": operations.list_queues,
    "show": lambda celery: operations.show(celery, TASK),
    "why": lambda celery: operations.why(celery, TASK),
    "revoke": lambda celery: operations.revoke(celery, TASK),
    "is_unknown": lambda celery: operations.is_unknown(celery, TASK),
    "watch": lambda celery: versions(celery, [TASK]),
}


@pytest.fixture
def app(make_app: MakeApp) -> Iterator[Flask]:
    """An application whose scheduled task is in a file that a newer version has made its own."""
    app = make_app()
    celeriac = Celeriac(app)

    @celeriac.task(name="unreadable.later")
    def later() -> None: ...

    with app.app_context():
        later.apply_async(countdown=1000, task_id=TASK)
        yield app
    file = sqlite.file_at(path_of(app))
    database.engine_for(sqlite.url_of(file.path)).dispose()
    file.close()


def path_of(app: Flask) -> str:
    return str(Path(app.instance_path) / "celeriac" / "celeriac.db")


def make_newer(app: Flask) -> None:
    with sqlite.file_at(path_of(app)).transaction() as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")


@pytest.mark.parametrize("verb", ASK)
def test_a_queue_of_a_newer_version(app: Flask, verb: str) -> None:
    celery = app.extensions["celery"]
    assert [task.id for task in operations.list_tasks(celery).tasks] == [TASK]
    make_newer(app)
    with pytest.raises(StorageError, match=r"newer Flask-Celeriac .* upgrade flask-celeriac"):
        ASK[verb](celery)


def test_a_run_does_not_fail_as_it_cannot_be_counted(app: Flask) -> None:
    """Another worker may have brought the file to its version beside one that runs."""
    make_newer(app)
    request = Context(id=TASK, properties={"delivery_tag": "1.2"})
    assert app.extensions["celery"].recorder.count_start(request)


def test_a_file_that_is_not_there_yet_has_no_tasks(make_app: MakeApp) -> None:
    app = make_app("new")
    Celeriac(app)
    celery = app.extensions["celery"]
    assert operations.list_tasks(celery).tasks == []
    assert operations.count(celery).number == 0
    assert embedded_store(celery.conf) is not None
    database.engine_for(sqlite.url_of(path_of(app))).dispose()
    sqlite.file_at(path_of(app)).close()
