"""``CELERIAC_OUTBOX = "always"``: plain calls are kept too, while in a transaction."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from celery import chain, chord, group, signals
from flask import Flask
from flask.ctx import AppContext

from flask_celeriac import Celeriac, ConfigError
from flask_celeriac.outbox.courier import courier
from tests.services.conftest import working

from .conftest import Shop, opened


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with opened(tmp_path, f"sqlite:///{tmp_path}/app.db", CELERIAC_OUTBOX="always") as shop:
        yield shop


def begin(shop: Shop) -> None:
    shop.session.execute(sa.select(1))


def test_outside_of_a_transaction_a_task_is_sent_at_once(shop: Shop) -> None:
    ids = [shop.add.delay(1, 1).id for _ in range(3)]
    assert [message.headers["id"] for message in shop.messages()] == ids


def test_inside_of_one_it_is_sent_with_the_commit(shop: Shop) -> None:
    begin(shop)
    ids = [shop.add.delay(1, 1).id, shop.add.apply_async((1, 1), countdown=-1).id]
    ids.append(shop.add.s(1, 1).delay().id)
    ids.append(shop.celery.send_task("shop.add", (1, 1)).id)
    ids += [each.id for each in group([shop.add.s(1, 1)] * 2).delay().results]
    chain(shop.add.s(1, 1), shop.add.s(1)).delay()
    shop.add.delay_many([(1, 1), (2, 2)])
    chord([shop.add.s(1, 1)] * 2, shop.total.s()).delay()
    assert shop.sent() == []
    shop.session.commit()
    sent = shop.sent()
    assert len(sent) == 11
    assert sent[: len(ids)] == ids


def test_with_a_rollback_it_is_not_sent_and_that_is_told(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    begin(shop)
    shop.add.delay(1, 1)
    shop.session.rollback()
    begin(shop)
    shop.add.delay(2, 2)
    shop.session.remove()
    assert shop.sent() == []
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == ["1 task(s) are not sent: their transaction was not committed"] * 2


def test_in_a_task_too_but_not_its_retries(shop: Shop) -> None:
    tries: list[int] = []

    @shop.celeriac.task(name="shop.twice", bind=True, max_retries=2)
    def twice(self) -> str:  # type: ignore[no-untyped-def]
        tries.append(self.request.retries)
        begin(shop)
        shop.add.delay(len(tries), 0)
        if len(tries) < 2:
            raise self.retry(countdown=0)
        shop.session.commit()
        return "done"

    with working(shop.app):
        steps = chain(twice.s(), shop.count.s()).delay()
        assert steps.get(timeout=30) == "done"
        assert courier.wait(30)
        shop.add.delay(9, 9).get(timeout=30)
    assert tries == [0, 1]
    assert shop.ran == [(2, 0), (9, 9)]


def test_what_takes_a_tasks_place_is_sent_at_once(shop: Shop) -> None:
    @shop.celeriac.task(name="shop.replaced", bind=True)
    def replaced(self) -> None:  # type: ignore[no-untyped-def]
        begin(shop)
        raise self.replace(group([shop.add.s(1, 1), shop.add.s(2, 2)]))

    with working(shop.app):
        assert sorted(replaced.delay().get(timeout=30)) == [2, 4]


def test_what_a_limit_puts_off_is_sent_at_once(shop: Shop) -> None:
    """Whoever has begun a transaction before the task rolls it back after it."""
    contexts: list[AppContext] = []

    @shop.celeriac.task(name="shop.rated", rate="2/s", acks_late=False)
    def rated(n: int) -> int:
        return n

    @signals.task_prerun.connect
    def look(**_: object) -> None:
        contexts.append(shop.app.app_context())
        contexts[-1].push()
        begin(shop)

    @signals.task_postrun.connect
    def leave(**_: object) -> None:
        contexts.pop().pop()

    results = [rated.delay(n) for n in range(2)]
    with working(shop.app):
        assert [result.get(timeout=20) for result in results] == [0, 1]


def test_it_needs_a_session(tmp_path: Path) -> None:
    app = Flask("shop", instance_path=str(tmp_path))
    app.config["CELERIAC_OUTBOX"] = "always"
    with pytest.raises(ConfigError, match="session"):
        Celeriac(app)
    app.config["CELERIAC_OUTBOX"] = "sometimes"
    with pytest.raises(ConfigError, match="'on_commit' or 'always'"):
        Celeriac(app)
