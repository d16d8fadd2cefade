"""Tasks that were sent on commit and come again, or are there already."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery.exceptions import Ignore

from flask_celeriac.task import Task
from tests.outbox.conftest import Shop
from tests.services.conftest import working
from tests.support.processes import wait_for


def test_a_repeated_attempt_is_no_second_message(small_shop: Shop) -> None:
    """It has the id and the headers of the first one, whose message is there until it ends."""

    @small_shop.celeriac.task(name="shop.again", bind=True, max_retries=1)
    def again(self: Task[..., Any]) -> int:
        if self.request.retries == 0:
            raise self.retry(countdown=0)
        return int(self.request.retries)

    result = again.delay_on_commit()
    small_shop.session.commit()
    with working(small_shop.app):
        assert result.get(timeout=20) == 1


def test_a_unique_task(small_shop: Shop) -> None:
    @small_shop.celeriac.task(name="shop.once", unique=True)
    def once(a: int) -> int:
        return a

    first = once.delay_on_commit(1)
    assert once.delay_on_commit(1).id == once.delay(1).id == first.id
    small_shop.session.commit()
    assert once.delay(1).id == first.id
    with working(small_shop.app):
        assert first.get(timeout=20) == 1
    other = once.delay_on_commit(1)
    assert other.id != first.id
    small_shop.session.rollback()
    assert once.delay(1).id == other.id  # for fifteen seconds nobody can tell
    assert len(small_shop.sent()) == 0


def double(number: int) -> int:
    return 2 * number


def test_a_worker_of_the_last_version_loses_nothing(
    small_shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """It sends the message once more, while the one it has is in the file still."""
    celery = small_shop.celery
    caplog.set_level(logging.WARNING)
    result = small_shop.celeriac.delay_on_commit(celery.signature("next.double", (21,)))
    small_shop.session.commit()
    with working(small_shop.app):
        wait_for(lambda: "is not known to this worker" in caplog.text, "it was not met")
    celery.task(double, name="next.double", shared=False)
    with working(small_shop.app):
        assert result.get(timeout=20) == 42


def test_a_task_that_sends_itself_once_more(small_shop: Shop) -> None:
    """What it sends under its own id is no second copy of what it was sent with."""

    @small_shop.celeriac.task(name="shop.later", bind=True)
    def later(self: Task[..., Any], number: int) -> int:
        if number == 1:
            self.signature_from_request(args=(2,), countdown=0).apply_async()
            raise Ignore
        return number

    result = later.delay_on_commit(1)
    small_shop.session.commit()
    with working(small_shop.app):
        assert result.get(timeout=20) == 2
