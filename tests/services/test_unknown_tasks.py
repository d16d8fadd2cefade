"""Which tasks there are, and which there certainly are not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery, chain, chord
from flask import Flask

from flask_celeriac import Celeriac, current_celeriac

from .conftest import MakeApp, working

celeriac = Celeriac()


@celeriac.task(name="unknown.add")
def add(x: int, y: int) -> int:
    return x + y


@celeriac.task(name="unknown.total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@celeriac.task(name="unknown.sees_itself", bind=True)
def sees_itself(self: Any) -> bool:
    return current_celeriac.is_unknown(self.request.id)


@celeriac.task(name="unknown.forgets", ignore_result=True)
def forgets() -> None:
    """Leaves no result."""


@pytest.fixture
def make(make_app: MakeApp) -> Callable[..., Flask]:
    def make(**config: Any) -> Flask:
        app = make_app(**config)
        celeriac.init_app(app)
        return app

    return make


@pytest.fixture
def app(make: Callable[..., Flask]) -> Flask:
    return make()


def celery_of(app: Flask) -> Celery[Any]:
    found: Celery[Any] = app.extensions["celery"]
    return found


def test_where_there_was_never_a_task(app: Flask) -> None:
    with app.app_context():
        assert current_celeriac.is_unknown("never sent")
        assert not add.AsyncResult("never sent").exists()


def test_a_task_that_waits(app: Flask) -> None:
    later = datetime.now(timezone.utc) + timedelta(days=400)
    with app.app_context():
        for sent in (add.delay(1, 2), add.apply_async((1, 2), eta=later)):
            assert not current_celeriac.is_unknown(sent.id)
            assert sent.exists()
        assert current_celeriac.is_unknown("never sent")


def test_tasks_that_wait_inside_another(app: Flask) -> None:
    with app.app_context():
        last = chain(add.s(1, 2), add.s(3), add.s(4)).apply_async()
        body = chord([add.s(1, 2), add.s(3, 4)])(total.s())
        for sent in (last, last.parent, last.parent.parent, body):
            assert not current_celeriac.is_unknown(sent.id)


def test_a_task_that_runs_and_one_that_has_ended(app: Flask) -> None:
    with app.app_context():
        with working(app):
            result = sees_itself.delay()
            assert result.get(timeout=60) is False
        assert not current_celeriac.is_unknown(result.id)
        result.forget()
        assert current_celeriac.is_unknown(result.id)


def test_nothing_is_left_of_a_task_whose_result_was_ignored(app: Flask) -> None:
    with app.app_context():
        ignored = forgets.delay()
        assert not current_celeriac.is_unknown(ignored.id)
        with working(app):
            add.delay(1, 2).get(timeout=60)
        assert current_celeriac.is_unknown(ignored.id)


def test_a_state_in_a_database_beside_the_file(
    make: Callable[..., Flask], postgres_url: str
) -> None:
    app = make(CELERIAC_DATABASE=postgres_url)
    with app.app_context():
        sent = add.delay(1, 2)
        celery_of(app).backend.store_result("recorded", 1, "PROGRESS")
        assert not current_celeriac.is_unknown("recorded")
        assert not current_celeriac.is_unknown(sent.id)
        assert current_celeriac.is_unknown("never sent")


@pytest.mark.parametrize(
    "settings",
    [
        {"broker_url": "memory://"},
        {"result_backend": "cache+memory://"},
        {"task_acks_late": False},
        {"task_always_eager": True},
    ],
    ids="".join,
)
def test_where_nobody_can_tell(make_app: MakeApp, settings: dict[str, Any]) -> None:
    app = make_app()
    app.config["CELERY"].update(settings)
    celeriac.init_app(app)
    with app.app_context():
        assert not current_celeriac.is_unknown("never sent")


def test_a_message_that_cannot_be_read_may_hold_any_task(app: Flask) -> None:
    with app.app_context():
        add.apply_async((1, 2), compression="zlib")
        assert not current_celeriac.is_unknown("never sent")
