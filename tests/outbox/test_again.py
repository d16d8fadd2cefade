"""Tasks that were sent on commit and come again, or are there already."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import Ignore
from sqlalchemy.orm import Session

from flask_celeriac import Limit, Unique, operations
from flask_celeriac.database import engine_for
from flask_celeriac.outbox.courier import courier
from flask_celeriac.task import Task
from tests.outbox.conftest import Shop, opened, own_url
from tests.services.conftest import working
from tests.services.systems import environ_of
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


@pytest.fixture(params=["embedded", "redis+postgresql", "rabbitmq+mariadb"])
def once(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Shop, Any]]:
    """A shop and its unique task, of which each run is noted in the shop."""
    url = own_url(request, "postgresql", tmp_path)
    with environ_of(request.param) as environ:
        config = {key.removeprefix("FLASK_"): value for key, value in environ.items()}
        with opened(tmp_path, url, **config) as shop:

            @shop.celeriac.task(name="shop.once", unique=Unique(key="order"), bind=True)
            def once(self: Any, order: int, said: str) -> None:
                shop.ran.append((self.request.id, said))
                if said == "slow":
                    time.sleep(1.5)

            @shop.celeriac.task(name="shop.sends")
            def sends(order: int, said: str) -> str:
                return str(once.delay(order, said).id)

            yield shop, once
            if "CELERIAC_DATABASE" in config:
                engine_for(config["CELERIAC_DATABASE"]).dispose()


def runs(shop: Shop) -> list[str]:
    """What was said to the runs, once all that was sent has been run."""
    assert courier.wait(30)
    with working(shop.app):
        wait_for(lambda: shop.ran, "the task to run")
        shop.total.delay([1]).get(timeout=30)  # behind whatever else there is
    return [said for _, said in shop.ran]


def test_a_call_in_the_place_of_one_that_is_rolled_back_is_sent(once: tuple[Shop, Any]) -> None:
    shop, task = once
    undone = task.delay_on_commit(1, "undone")
    shop.session.rollback()
    done = task.delay_on_commit(1, "done")
    shop.session.commit()
    assert runs(shop) == ["done"]
    assert shop.ran[0][0] == done.id == undone.id


def test_so_is_one_that_is_sent_at_once(once: tuple[Shop, Any]) -> None:
    shop, task = once
    task.delay_on_commit(1, "undone")
    shop.session.rollback()
    task.delay(1, "done")
    assert task.delay(1, "too late").id == task.delay_on_commit(1, "too late").id
    shop.session.commit()
    assert runs(shop) == ["done"]


@pytest.mark.parametrize("undone", [None, 0, 1])
def test_of_two_transactions_at_once_one_run_comes(
    once: tuple[Shop, Any], undone: int | None
) -> None:
    """Whichever of them is committed, in whatever order."""
    shop, task = once
    first, second = Session(shop.engine), Session(shop.engine)
    results = [
        task.apply_async_on_commit((1, str(number)), session=session)
        for number, session in enumerate((first, second))
    ]
    for number, session in reversed(list(enumerate((first, second)))):
        session.rollback() if number == undone else session.commit()
        session.close()
    said = runs(shop)
    assert len(said) == 1
    assert said != [str(undone)]
    assert len({result.id for result in results}) == 1


def test_the_second_message_is_not_run_beside_the_first(once: tuple[Shop, Any]) -> None:
    shop, task = once
    with Session(shop.engine) as first, Session(shop.engine) as second:
        for session in (first, second):
            result = task.apply_async_on_commit((1, "slow"), session=session)
        first.commit()
        second.commit()
    assert courier.wait(30)
    with working(shop.app, pool="threads", concurrency=2):
        result.get(timeout=30)
        shop.total.delay([1]).get(timeout=30)
    assert len(shop.ran) == 1


@pytest.mark.parametrize("concurrency", [None, 2])
def test_nor_is_one_that_is_committed_while_the_first_runs(
    once: tuple[Shop, Any], concurrency: int | None
) -> None:
    """Nor does it take the first one's slot, or count as its crash."""
    shop, task = once
    if concurrency:
        type(task._get_current_object()).concurrency = Limit(concurrency)
        type(task._get_current_object()).limited = True
    with Session(shop.engine) as late:
        first = task.apply_async_on_commit((1, "slow"), session=late)
        sent = shop.celery.tasks["shop.sends"].delay(1, "slow")  # from within a task
        with working(shop.app, pool="threads", concurrency=3):
            assert sent.get(timeout=30) == first.id
            wait_for(lambda: shop.ran, "the task to run")
            late.commit()
            assert courier.wait(30)
            shop.total.delay([1]).get(timeout=30)
            first.get(timeout=30)
            assert operations.show(shop.celery, first.id).state == "succeeded"
            shop.total.delay([1]).get(timeout=30)
    assert len(shop.ran) == 1


def test_a_unique_task_that_is_there_is_not_sent_again(once: tuple[Shop, Any]) -> None:
    shop, task = once
    first = task.delay_on_commit(1, "first")
    assert task.delay_on_commit(1, "again").id == first.id
    shop.session.commit()
    assert courier.wait(30)
    assert task.delay(1, "too late").id == first.id
    assert runs(shop) == ["first"]
    assert task.delay_on_commit(1, "anew").id != first.id
    shop.session.rollback()


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
