"""States, retries, limits and revocations are the same as on Celery's own."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import (
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
    TimeoutError,
)

from tests.conformance.conftest import LONG, System, lines
from tests.conformance.tasks import OutOfPaper
from tests.system.workers import wait_for

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")


def held(path: str) -> bool:
    return Path(path).exists()


def test_a_state_of_ones_own(system: System) -> None:
    path = system.file()
    result = system.progress.delay(path)
    wait_for(lambda: result.state == "PRINTING", "it prints", LONG)
    assert result.info == {"page": 3}
    with pytest.raises(TimeoutError):
        result.get(timeout=0.05)
    Path(path).touch()
    assert result.get(timeout=LONG) == "printed"
    assert result.state == "SUCCESS"


def test_a_task_that_sets_its_state_and_ends(system: System) -> None:
    result = system.ignored.delay()
    wait_for(lambda: result.state == "ASIDE", "it is aside", LONG)
    assert result.info == {"why": "later"}


def test_a_failure(system: System) -> None:
    result = system.fail.delay("no ink")
    with pytest.raises(OutOfPaper, match="no ink"):
        result.get(timeout=LONG)
    assert (result.state, result.failed()) == ("FAILURE", True)
    assert "raise OutOfPaper" in (result.traceback or "")


def test_an_argument_too_many(system: System) -> None:
    result = system.app.send_task("add", (1, 2, 3))
    with pytest.raises(TypeError):
        result.get(timeout=LONG)


def test_results_that_nobody_wants(system: System) -> None:
    path = system.file()
    result = system.quiet.delay(path)
    assert lines(path, 1) == ["here"]
    assert system.add.delay(1, 1).get(timeout=LONG) == 2
    assert result.state == "PENDING"


def test_a_result_that_is_forgotten(system: System) -> None:
    result = system.add.delay(1, 1)
    assert result.get(timeout=LONG) == 2
    assert result.exists()
    result.forget()
    again = system.result(result.id)
    assert again.state == "PENDING"
    # Its message may still be there for a moment.
    wait_for(lambda: not again.exists(), "nothing is left of it", LONG)


@pytest.mark.parametrize(
    "value", [None, 0, "grüße \U0001f600", [1, [2]], {"a": {"b": None}}, "x" * 99999]
)
def test_values_come_back(system: System, value: Any) -> None:
    assert system.echo.delay(value).get(timeout=LONG) == value


def test_retries(system: System) -> None:
    assert system.flaky.delay(3).get(timeout=LONG) == 3
    assert system.flaky_by_itself.delay(2).get(timeout=LONG) == 2


def test_too_many_retries(system: System) -> None:
    result = system.flaky_by_itself.delay(9)
    with pytest.raises(OutOfPaper, match="run 2"):
        result.get(timeout=LONG)


def test_a_soft_time_limit(system: System) -> None:
    assert system.careful.delay().get(timeout=LONG) == "in time"
    result = system.hold.apply_async((system.file(),), soft_time_limit=0.3)
    with pytest.raises(SoftTimeLimitExceeded):
        result.get(timeout=LONG)


def test_a_hard_time_limit(system: System) -> None:
    result = system.careless.delay()
    with pytest.raises(TimeLimitExceeded):
        result.get(timeout=LONG)


def test_a_countdown_and_an_eta(system: System) -> None:
    began = datetime.now(timezone.utc)
    soon = began + timedelta(seconds=0.4)
    results = [
        system.echo.apply_async((1,), countdown=0.4),
        system.echo.apply_async((1,), eta=soon),
    ]
    for result in results:
        assert result.get(timeout=LONG) == 1
        ended = system.result(result.id).date_done
        assert ended is not None
        assert ended >= soon - timedelta(seconds=0.05)


def test_a_task_that_comes_too_late(system: System) -> None:
    result = system.add.apply_async((1, 1), countdown=0.3, expires=0.1)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=LONG)
    assert result.state == "REVOKED"


def test_a_task_that_is_revoked_before_it_starts(system: System) -> None:
    task_id = str(uuid.uuid4())
    system.app.control.revoke(task_id, reply=True, timeout=LONG, limit=1)
    result = system.add.apply_async((1, 1), task_id=task_id)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=LONG)


def test_a_task_that_is_terminated(system: System) -> None:
    path = system.file()
    result = system.hold.delay(path)
    wait_for(lambda: held(path), "it runs", LONG)
    result.revoke(terminate=True)
    # Celery's own worker may meet the message a second time, and say so.
    with pytest.raises(TaskRevokedError, match=r"terminated|revoked"):
        result.get(timeout=LONG)
    assert system.add.delay(1, 1).get(timeout=LONG) == 2
