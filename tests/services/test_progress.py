"""What a running task says of its progress is in its record while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.app import pop_current_task, push_current_task
from flask import Flask
from kombu import pools

from flask_celeriac import Celeriac, current_celeriac, operations, states
from flask_celeriac import progress as module
from flask_celeriac.errors import StorageError
from flask_celeriac.records import write_queries
from flask_celeriac.records.task_record import TaskRecord
from tests.support.processes import wait_for

from .conftest import working

celeriac = Celeriac()
Progress = tuple[float | None, float | None, str | None]

#: What records said while their tasks ran.
seen: list[TaskRecord] = []


def look(task: Any) -> None:
    seen.append(operations.show(task.app, task.request.id))


def of(task: TaskRecord) -> Progress:
    return task.progress_current, task.progress_total, task.progress_message


@celeriac.task(name="progress.says", bind=True)
def says(self: Any, number: int) -> int:
    current_celeriac.progress(1, 10, "first")
    look(self)
    celeriac.progress(2, message="too soon to be written")
    look(self)
    return number


@celeriac.task(name="progress.tracks", bind=True)
def tracks(self: Any, n: int) -> int:
    total = sum(celeriac.track(range(n), message="adding"))
    look(self)
    return total


@celeriac.task(name="progress.repeats")
def repeats(n: int) -> None:
    for number in range(n + 1):
        celeriac.progress(number, n, "adding")


@celeriac.task(name="progress.quietly", bind=True)
def quietly(self: Any) -> int:
    self.update_state(state="PROGRESS", meta={"current": 1})
    return sum(celeriac.track([1, 2]))


@celeriac.task(name="progress.fails", bind=True, max_retries=1)
def fails(self: Any) -> None:
    celeriac.progress(1, 2)
    celeriac.progress(2)
    if not self.request.retries:
        raise self.retry(countdown=0)
    raise ValueError("half-way")


@celeriac.task(name="progress.both", bind=True)
def both(self: Any) -> tuple[str, Any]:
    self.update_state(state="PROGRESS", meta={"current": 1, "total": 2})
    look(self)
    run = module._running()
    assert run is not None
    run.say(2)
    run.flush()
    look(self)
    found = self.AsyncResult(self.request.id)
    return found.state, found.info


@celeriac.task(name="progress.other_meta", bind=True)
def other_meta(self: Any) -> None:
    self.update_state(state="PRINTING", meta={"current": "page", "total": 3})
    self.update_state(state="PRINTING", meta=["no", "mapping"])
    look(self)


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


def make_app(folder: Path, **config: Any) -> Flask:
    app = Flask("shop", instance_path=str(folder))
    app.config.update(config)
    celeriac.init_app(app)
    return app


@pytest.fixture(scope="class")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """An application without configuration, and its worker."""
    app = make_app(tmp_path_factory.mktemp("progress"))
    with working(app):
        yield app
    pools.reset()


def finished(app: Flask, task: Any, *args: Any) -> TaskRecord:
    """The record of a task that a worker has run to its end."""
    with app.app_context():
        sent = task.delay(*args)

    def ended() -> TaskRecord | None:
        found = operations.show(app.extensions["celery"], sent.id)
        return found if found.ended else None

    return wait_for(ended, f"{sent} to end")


def check_everything(app: Flask) -> None:
    task = finished(app, says, 7)
    first, second = seen
    assert first.state == states.RUNNING
    assert (first.name, first.attempts) == ("progress.says", 1)
    assert first.started
    assert of(first) == of(second) == (1, 10, "first")
    assert (task.state, task.result, task.args) == (states.SUCCEEDED, 7, [7])
    assert of(task) == (2, 10, "too soon to be written")

    task = finished(app, tracks, 5)
    assert of(seen[2]) == of(task) == (5, 5, "adding")

    task = finished(app, both)
    assert (seen[3].state, seen[3].status) == (states.RUNNING, "PROGRESS")
    assert of(seen[3]) == (1, 2, None)
    assert of(seen[4]) == of(task) == (2, 2, None)
    # What Celery was told stays what it answers.
    assert task.result == ["PROGRESS", {"current": 1, "total": 2}]


@pytest.mark.parametrize("fixture", ["postgres_url", "mariadb_url"])
def test_in_a_database(request: pytest.FixtureRequest, tmp_path: Path, fixture: str) -> None:
    app = make_app(tmp_path, CELERIAC_DATABASE=request.getfixturevalue(fixture))
    with working(app):
        check_everything(app)


def test_results_elsewhere(tmp_path: Path, postgres_url: str) -> None:
    settings = {"result_backend": "cache+memory://"}
    app = make_app(tmp_path, CELERIAC_DATABASE=postgres_url, CELERY=settings)
    celery = app.extensions["celery"]
    with working(app), app.app_context():
        sent = says.delay(1)
        wait_for(lambda: operations.show(celery, sent.id).progress_current == 2, "the end")
        sent = both.delay()
        assert sent.get(timeout=60) == ["PROGRESS", {"current": 1, "total": 2}]
    assert of(seen[0]) == (1, 10, "first")
    assert [of(task) for task in seen[2:]] == [(1, 2, None), (2, 2, None)]


def test_without_records_nothing_is_written(tmp_path: Path) -> None:
    settings = {"broker_url": "memory://", "result_backend": "cache+memory://"}
    app = make_app(tmp_path, CELERY=settings)
    with app.app_context():
        task: Any = says._get_current_object()  # type: ignore[attr-defined]
        push_current_task(task)
        task.push_request(id="unrecorded", called_directly=False)
        try:
            assert module._running() is not None
            celeriac.progress(1, 2)
            assert list(celeriac.track(iter([1, 2]))) == [1, 2]
            for number in (
                float("nan"),
                float("inf"),
            ):  # too soon to be written, and said all the same
                with pytest.raises(ValueError, match="finite"):
                    celeriac.progress(number)
        finally:
            task.pop_request()
            pop_current_task()


def test_outside_of_a_running_task_nothing_happens(tmp_path: Path) -> None:
    celeriac.progress(1, 2)
    assert list(celeriac.track([1, 2])) == [1, 2]
    with make_app(tmp_path).app_context():
        assert quietly() == 3
        assert quietly.apply().get() == 3


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_none(number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        module.Said().note(number)
    with pytest.raises(ValueError, match="finite"):
        module.Said().note(1, number)


class TestEmbedded:
    """Their worker has ended when other tests start theirs: Celery has one in a process."""

    def test_on_the_embedded_broker(self, embedded: Flask) -> None:
        check_everything(embedded)

    def test_attempts_that_fail_say_how_far_they_came(self, embedded: Flask) -> None:
        task = finished(embedded, fails)
        assert (task.state, task.attempts) == (states.FAILED, 2)
        assert of(task) == (2, 2, None)

    def test_states_of_the_users_own_may_mean_anything(self, embedded: Flask) -> None:
        task = finished(embedded, other_meta)
        assert task.state == states.SUCCEEDED
        assert of(seen[0]) == (None, None, None)

    @pytest.mark.parametrize("spoken", [tracks, repeats], ids=["tracks", "repeats"])
    def test_few_writes_however_much_is_said(
        self, embedded: Flask, monkeypatch: pytest.MonkeyPatch, spoken: Any
    ) -> None:
        took: list[float] = []
        write = write_queries.write_progress_embedded

        def counted(*args: Any) -> bool:
            began = time.monotonic()
            try:
                return write(*args)
            finally:
                took.append(time.monotonic() - began)

        monkeypatch.setattr(write_queries, "write_progress_embedded", counted)
        task = finished(embedded, spoken, 100_000)
        assert of(task) == (100_000, 100_000, "adding")
        assert task.run is not None
        # The first, and the last unless the task's end writes it, and between them no more than
        # their pauses allow.
        assert 1 <= len(took) <= 2 + task.run / module.PAUSE
        assert sum(took[:-2]) <= task.run / module.PAUSE_PER_WRITE

    def test_a_write_that_fails_does_not_fail_the_task(
        self, embedded: Flask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise StorageError("no room")

        monkeypatch.setattr(write_queries, "write_progress_embedded", fail)
        monkeypatch.setattr("tests.services.test_progress.look", lambda _: None)
        with caplog.at_level("WARNING", module.logger.name):
            task = finished(embedded, says, 3)
        assert (task.state, task.result) == (states.SUCCEEDED, 3)
        assert of(task) == (2, 10, "too soon to be written")
        assert "is not recorded: no room" in caplog.text
