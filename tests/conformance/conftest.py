"""One worker on the embedded broker, and one of Celery's own on Redis, for the same tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, Task
from celery.result import AsyncResult
from kombu import pools

from flask_celeriac import sqlite
from flask_celeriac.database import engine_for
from tests.conformance import tasks
from tests.support.pieces import redis_database
from tests.system.workers import Worker, wait_for

SYSTEMS = ["embedded", "redis"]
#: Seconds to wait for what should take milliseconds.
LONG = 60


def lines(path: str, count: int) -> list[str]:
    """The lines of a file, once there are that many."""

    def read() -> list[str]:
        found = Path(path).read_text().splitlines() if Path(path).exists() else []
        return found if len(found) >= count else []

    return wait_for(read, f"{count} lines in {path}", LONG)


@dataclass(frozen=True)
class System:
    """An application with a worker that runs its tasks in two processes."""

    name: str
    app: Celery
    worker: Worker
    folder: Path

    def __getattr__(self, name: str) -> Task[..., Any]:
        return self.app.tasks[name]

    def file(self) -> str:
        """A path that no other test uses."""
        return str(self.folder / uuid.uuid4().hex)

    def result(self, task_id: str) -> AsyncResult[Any]:
        return self.app.AsyncResult(task_id)


@pytest.fixture(scope="package", params=SYSTEMS)
def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("conformance")
    start = on_embedded if request.param == "embedded" else on_redis
    yield from start(folder)


def on_embedded(folder: Path) -> Iterator[System]:
    instance = str(folder / "instance")
    app = tasks.make_ours(instance)
    url: str = app.conf.broker_url
    yield from working("embedded", app, folder, **{tasks.FOLDER: instance})
    engine_for(url).dispose()
    sqlite.file_at(sqlite.path_of(url)).close()


def on_redis(folder: Path) -> Iterator[System]:
    with redis_database() as broker, redis_database() as results:
        app = tasks.make_celerys(broker, results)
        env = {tasks.BROKER: broker, tasks.RESULTS: results}
        yield from working("redis", app, folder, **env)
        # A result that is collected later would unsubscribe, on a connection made for that.
        app.backend.result_consumer.subscribed_to.clear()
        app.backend.result_consumer.stop()
        app.backend.client.connection_pool.disconnect()


def working(name: str, app: Celery, folder: Path, **env: str) -> Iterator[System]:
    worker = Worker(
        "", "-c", "2", "-E", "-n", "one@test",
        log=folder / "worker.log", module="tests.conformance.app", **env,
    )  # fmt: skip
    try:
        yield System(name, app, worker.wait_ready(), folder)
    finally:  # how a worker stops is not what is compared here
        worker.end()
        app.close()
        pools.reset()
