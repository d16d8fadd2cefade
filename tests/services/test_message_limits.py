"""What is too large, too deep or in a format that nobody reads is refused where it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import chain, chord, group
from flask import Flask

from flask_celeriac import Celeriac, operations
from flask_celeriac.database import engine_for
from flask_celeriac.errors import MessageRefusedError, UnserializableArgumentError

from .conftest import MakeApp

celeriac = Celeriac()
LARGE = "x" * 5_000_000


@celeriac.task(name="limits.keep")
def keep(*args: Any, **kwargs: Any) -> None: ...


@celeriac.task(name="limits.pickled", serializer="pickle")
def pickled(*args: Any) -> None: ...


@celeriac.task(name="limits.in_yaml", serializer="yaml")
def in_yaml(*args: Any) -> None: ...


@pytest.fixture
def app(make_app: MakeApp) -> Iterator[Flask]:
    app = make_app()
    celeriac.init_app(app)
    with app.app_context():
        yield app


def nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


def test_what_is_refused_is_not_recorded(
    make_app: MakeApp, redis_url: str, postgres_url: str
) -> None:
    app = make_app(CELERY={"broker_url": redis_url}, CELERIAC_DATABASE=postgres_url)
    celeriac.init_app(app)
    with app.app_context():
        for call in (lambda: keep.delay(LARGE), lambda: keep.delay(object())):
            with pytest.raises((MessageRefusedError, UnserializableArgumentError)):
                call()
        assert sent(app) == 0
    engine_for(postgres_url).dispose()


def sent(app: Flask) -> int:
    return operations.count(app.extensions["celery"]).number


@pytest.mark.parametrize("learned", [False, True])
def test_what_is_too_large_is_not_sent(app: Flask, learned: bool) -> None:
    if learned:
        keep.delay()
    for send in (
        lambda: keep.delay(LARGE),
        lambda: keep.apply_async((LARGE,), countdown=1),
        lambda: keep.delay_many([(1,), (LARGE,)]),
        lambda: chain(keep.s(), keep.s(LARGE)).delay(),
        lambda: chord([keep.s()], keep.s(text=LARGE)).delay(),
    ):
        with pytest.raises(MessageRefusedError, match="pass its id, or raise the limit") as refused:
            send()
        assert "CELERIAC_MAX_MESSAGE_SIZE is 4,194,304" in str(refused.value)
        assert len(str(refused.value)) < 300
    assert sent(app) == learned


def test_a_limit_is_in_bytes(make_app: MakeApp) -> None:
    app = make_app(CELERIAC_MAX_MESSAGE_SIZE=200)
    celeriac.init_app(app)
    with app.app_context():
        keep.delay("x" * 90)
        for text in ("x" * 140, "ä" * 24):
            with pytest.raises(MessageRefusedError):
                keep.delay(text)
        assert sent(app) == 1


def test_what_is_too_deep_is_not_sent(app: Flask) -> None:
    for _ in range(2):
        keep.delay(nested(198), text="[" * 10_000)
        with pytest.raises(MessageRefusedError, match="CELERIAC_MAX_MESSAGE_DEPTH, which is 200"):
            keep.delay(nested(199))
    assert sent(app) == 2


def test_zero_is_no_limit(make_app: MakeApp) -> None:
    app = make_app(CELERIAC_MAX_MESSAGE_SIZE=0, CELERIAC_MAX_MESSAGE_DEPTH="0")
    celeriac.init_app(app)
    with app.app_context():
        keep.delay(LARGE, nested(300))
        keep.delay(LARGE, nested(300))
        assert sent(app) == 2


def test_formats_that_nobody_reads_are_not_sent(app: Flask) -> None:
    for task, name in ((pickled, "pickle"), (in_yaml, "yaml")):
        for _ in range(2):
            with pytest.raises(MessageRefusedError, match=f"do not read {name}.*ALLOW_PICKLE"):
                task.delay(1)
    assert sent(app) == 0


def test_a_large_canvas_is_within_the_limits(app: Flask) -> None:
    wide = group(keep.s(number, text="some text") for number in range(5000))
    chain(keep.s(), wide, keep.s()).delay()
    many = chain(*[step for _ in range(12) for step in (group(keep.s(), keep.s()), keep.s())])
    many.delay()
    assert sent(app) == 3
