"""What is told of a task whose attempts are repeated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flask_celeriac import Celeriac, operations
from flask_celeriac.records.task_record import TaskRecord, iso
from tests.support.processes import wait_for

from .conftest import working
from .systems import RECORDED, system

celeriac = Celeriac()


@celeriac.task(name="retries.after", bind=True, max_retries=None)
def after(self: Any, *pauses: float) -> int:
    """Each attempt but the last takes a moment, and is repeated after a pause of its own."""
    done: int = self.request.retries
    if done < len(pauses):
        time.sleep(0.5)
        raise self.retry(countdown=pauses[done], exc=ValueError(f"no {done}"))
    return done


@pytest.fixture(scope="module", params=RECORDED)
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flask]:
    with system(request.param, tmp_path_factory.mktemp("retries"), celeriac) as app:
        yield app


def waiting(app: Flask, *pauses: float, attempts: int) -> TaskRecord:
    """A task that waits after so many attempts, with no worker left."""
    celery: Any = app.extensions["celery"]
    sent = after.delay(*pauses)
    with working(app):
        wait_for(
            lambda: (
                operations.show(celery, sent.id).attempts == attempts
                and len(operations.attempts(celery, sent.id)) == attempts
            ),
            "it is not repeated",
        )
    return operations.show(celery, sent.id)


def test_a_task_is_not_to_begin_before_its_next_attempt(app: Flask) -> None:
    celery: Any = app.extensions["celery"]
    task = waiting(app, 0.1, 600, attempts=2)
    assert (task.state, task.wait) == ("retrying", None)
    assert task.eta == pytest.approx(time.time() + 600, abs=30)
    reasons = [each.text for each in operations.why(celery, task.id) if each.code == "retrying"]
    assert reasons == [f"An attempt failed; the next may begin at {iso(task.eta)}."]
    operations.revoke(celery, task.id)
    assert operations.show(celery, task.id).eta == pytest.approx(task.eta, abs=0.01)


def test_what_is_told_while_it_is_repeated(app: Flask) -> None:
    """And when it is taken back then."""
    celery: Any = app.extensions["celery"]
    task = waiting(app, 600, attempts=1)
    assert (task.error_type, task.error_message) == ("ValueError", "no 0")
    assert "no 0" in str(task.traceback)
    assert (task.root_id, task.parent_id, task.run) == (None, None, None)
    operations.revoke(celery, task.id)
    revoked = operations.show(celery, task.id)
    assert (revoked.state, revoked.attempts) == ("revoked", 1)
    assert (revoked.root_id, revoked.parent_id) == (None, None)
    assert revoked.worker
    assert revoked.started
    assert (revoked.wait, revoked.run) == (None, None)


@pytest.mark.parametrize("pauses", [(0.5, 1.0), (0.5, 0), (0, 0)])
def test_a_task_has_waited_since_its_last_attempt_might_begin(
    app: Flask, pauses: tuple[float, ...]
) -> None:
    celery: Any = app.extensions["celery"]
    sent = after.delay(*pauses)
    with working(app):
        assert sent.get(timeout=60) == len(pauses)
    task = operations.show(celery, sent.id)
    last = operations.attempts(celery, sent.id)[-1]
    # Its retry was decided while it ran, which takes half a second.
    assert task.eta is not None
    assert last.started is not None
    assert last.finished is not None
    assert last.started + pauses[-1] < task.eta <= last.finished + pauses[-1]
    assert task.started is not None
    assert task.wait == pytest.approx(task.started - task.eta, abs=0.001)
