"""Tasks that were sent on commit and come again, or are there already."""

from __future__ import annotations

from typing import Any

from flask_celeriac.task import Task
from tests.outbox.conftest import Shop
from tests.services.conftest import working


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
