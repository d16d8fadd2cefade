"""What a task returned is shown, also where it is kept by another result backend than ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_celeriac import Celeriac, operations, states
from tests.support import pieces

from .conftest import working
from .gate import Gate
from .systems import system

# Celery's own words to Redis.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")

celeriac = Celeriac()


@celeriac.task(name="results.add")
def add(x: int, y: int) -> int:
    return x + y


@celeriac.task(name="results.quiet", ignore_result=True)
def quiet() -> int:
    return 1


@celeriac.task(name="results.fail", bind=True, max_retries=1)
def fail(self: Any) -> None:
    raise self.retry(countdown=0, exc=ValueError("no"))


@celeriac.task(name="results.slow", bind=True)
def slow(self: Any) -> list[str | None]:
    words = []
    for word in ("PROGRESS", "PACKING"):
        self.update_state(state=word, meta={"current": 1})
        words.append(operations.show(self.app, self.request.id).status)
    return words


@pytest.fixture(params=["redis+postgresql", "embedded"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    """Results are on Redis, records elsewhere."""
    with (
        pieces.redis_database() as results,
        system(request.param, tmp_path, celeriac, result_backend=results) as app,
    ):
        yield app
        close(app)


def close(app: Flask) -> None:
    """Close the connections for results; what is collected later would make new ones."""
    backend: Any = app.extensions["celery"].backend
    backend.result_consumer.subscribed_to.clear()
    backend.result_consumer.stop()
    backend.client.connection_pool.disconnect()


def test_a_result_is_read_from_its_backend(app: Flask) -> None:
    celery = app.extensions["celery"]
    with working(app):
        sent = add.delay(40, 2)
        assert operations.wait(celery, sent.id, 20).result == 42
        silent = operations.wait(celery, quiet.delay().id, 20)
    assert (silent.state, silent.result) == ("succeeded", None)
    assert operations.show(celery, sent.id).result == 42
    assert [task.result for task in operations.list_tasks(celery).tasks] == [None, None]
    assert [task.status for task in operations.list_tasks(celery).tasks] == ["SUCCESS"] * 2
    sent.forget()
    assert operations.show(celery, sent.id).result is None


def test_a_task_has_celerys_word_for_where_it_is(app: Flask) -> None:
    celery = app.extensions["celery"]
    with working(app):
        assert operations.wait(celery, slow.delay().id, 20).result == ["PROGRESS", "PACKING"]
        failed = operations.wait(celery, fail.delay().id, 20)
        assert (failed.state, failed.status) == ("failed", "FAILURE")
        waiting = add.apply_async((1, 1), countdown=1000)
        assert operations.show(celery, waiting.id).status is None
        operations.revoke(celery, waiting.id)
        revoked = operations.wait(celery, waiting.id, 20)
    assert (revoked.state, revoked.status) == ("revoked", "REVOKED")


@pytest.mark.parametrize("state", ["shut", "silent"])
def test_a_result_that_cannot_be_read_hides_nothing_else(
    redis_url: str, tmp_path: Path, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Gate(redis_url) as store:
        if state == "silent":
            store.silent()
        with system("embedded", tmp_path, celeriac, result_backend=store.url) as app:
            celery: Any = app.extensions["celery"]
            celery.recorder.ended("one", None, states.SUCCEEDED)
            with caplog.at_level(logging.WARNING, "flask_celeriac.operations.results"):
                task = operations.show(celery, "one")
            close(app)
    assert (task.state, task.result) == ("succeeded", None)
    assert "The result of task one cannot be read just now" in caplog.text


@pytest.mark.parametrize("backend", ["rpc://", "disabled://"])
def test_a_backend_that_keeps_no_results_is_not_asked(
    tmp_path: Path, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    with system("embedded", tmp_path, celeriac, result_backend=backend) as app:
        celery: Any = app.extensions["celery"]
        celery.recorder.ended("one", None, states.SUCCEEDED)
        assert operations.show(celery, "one").result is None
    assert caplog.text == ""
