"""Arguments that cannot be serialized are refused where the task is called."""

from __future__ import annotations

import dataclasses
import enum
import io
import pickle
import traceback
from collections.abc import Callable
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import chain
from flask import Flask
from kombu.exceptions import EncodeError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.datastructures import FileStorage

from flask_celeriac import Celeriac, UnserializableArgumentError
from flask_celeriac.errors import InvalidRequestError, OutboxError

from .conftest import MakeApp, working

celeriac = Celeriac()


@celeriac.task(name="send_receipt")
def send_receipt(*args: Any, **kwargs: Any) -> None: ...


@celeriac.task(name="pickled", serializer="pickle")
def pickled(*args: Any) -> None: ...


@celeriac.task(name="return_thing")
def return_thing() -> Any:
    return Thing()


@celeriac.task(name="echo", concurrency=3, autoretry_for=(OSError,))
def echo(value: Any = None, *more: Any, **named: Any) -> Any:
    return named


@celeriac.task(name="echo_later")
async def echo_later(value: Any = None, *more: Any, **named: Any) -> Any:
    return named


class Base(DeclarativeBase): ...


class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)


class Size(enum.Enum):
    SMALL = 1


@dataclasses.dataclass
class Line:
    price: int


class Thing: ...


class Speaking:
    def __json__(self) -> list[Any]:
        return [1, "two"]


LOOP: list[Any] = []
LOOP.append(LOOP)

REFUSED: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((), {"user": User(id=1)}, "kwargs.user: User — pass its id"),
    (({"lines": [1, 2, FileStorage()]},), {}, "args[0].lines[2]: FileStorage — store the file"),
    ((1, [2, (3, {"a": Thing()})]), {}, "args[1][1][1].a: Thing — pass plain data"),
    (({"with space": {4}},), {}, "args[0]['with space']: set — pass a list"),
    ((), {"sizes": [Size.SMALL]}, "kwargs.sizes[0]: Size — pass its value"),
    ((), {"line": Line(3)}, "kwargs.line: Line — pass dataclasses.asdict"),
    (({(1, 2): "pair"},), {}, "args[0].<key (1, 2)>: tuple — "),
    ((io.BytesIO(b""),), {}, "args[0]: BytesIO — store the file"),
    ((iter([]),), {}, "args[0]: list_iterator — pass a list"),
    ((print,), {}, "args[0]: builtin_function_or_method — pass plain data"),
    ((LOOP,), {}, "args[0]: list — it contains itself"),
]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    app = make_app(CELERIAC_ALLOW_PICKLE=True)
    celeriac.init_app(app)
    return app


def queued(app: Flask) -> int:
    celery = app.extensions["celery"]
    with celery.connection_for_read() as connection:
        queue = celery.amqp.queues["celery"](connection.default_channel)
        queue.declare()
        return int(queue.queue_declare(passive=True).message_count)


@pytest.mark.parametrize(("args", "kwargs", "says"), REFUSED, ids=[case[2] for case in REFUSED])
@pytest.mark.parametrize("eager", [False, True])
def test_refused_with_the_path_to_it(
    app: Flask, args: tuple[Any, ...], kwargs: dict[str, Any], says: str, eager: bool
) -> None:
    app.extensions["celery"].conf.task_always_eager = eager
    with app.app_context(), pytest.raises(UnserializableArgumentError) as refused:
        send_receipt.delay(*args, **kwargs)
    assert str(refused.value).startswith(f"send_receipt: {says}")
    assert isinstance(refused.value, TypeError)
    assert isinstance(refused.value, EncodeError)
    assert queued(app) == 0


SENDERS: list[Callable[[Flask, Any], Any]] = [
    lambda app, value: send_receipt.apply_async((), {"user": value}),
    lambda app, value: send_receipt.s(user=value).delay(),
    lambda app, value: app.extensions["celery"].send_task("send_receipt", (), {"user": value}),
]


@pytest.mark.parametrize("send", SENDERS, ids=["apply_async", "signature", "send_task"])
def test_however_it_is_sent(app: Flask, send: Callable[[Flask, Any], Any]) -> None:
    with app.app_context(), pytest.raises(UnserializableArgumentError, match=r"kwargs\.user: User"):
        send(app, User(id=1))
    assert queued(app) == 0


def test_in_what_comes_later_in_a_chain(app: Flask) -> None:
    with app.app_context(), pytest.raises(UnserializableArgumentError) as refused:
        chain(send_receipt.si(1), send_receipt.si(Thing()))()
    assert "chain[0].args[0]: Thing" in str(refused.value)
    assert queued(app) == 0


def test_the_traceback_is_short_and_names_the_documented_class(app: Flask) -> None:
    with app.app_context(), pytest.raises(UnserializableArgumentError) as refused:
        send_receipt.delay({1})
    lines = "".join(traceback.format_exception(refused.value)).splitlines()
    assert lines[-1] == (
        "flask_celeriac.errors.UnserializableArgumentError: "
        "send_receipt: args[0]: set — pass a list"
    )
    assert lines.count("Traceback (most recent call last):") == 2
    assert "TypeError: Object of type set is not JSON serializable" in lines
    assert not any(line.startswith("kombu") for line in lines)


def test_the_error_survives_pickling(app: Flask) -> None:
    with app.app_context(), pytest.raises(UnserializableArgumentError) as refused:
        send_receipt.delay({1})
    refused.value.hint = "see below"  # type: ignore[attr-defined]
    copied = pickle.loads(pickle.dumps(refused.value))
    assert type(copied) is type(refused.value)
    assert (str(copied), copied.hint) == (str(refused.value), "see below")


def test_what_a_worker_cannot_pass_on_fails_the_task(app: Flask) -> None:
    with app.app_context(), working(app):
        result = chain(return_thing.s(), send_receipt.s())()
        with pytest.raises(UnserializableArgumentError, match=r"send_receipt: args\[0\]: Thing"):
            result.parent.get(timeout=10)


def test_what_celery_can_serialize_is_accepted(app: Flask, tmp_path: Path) -> None:
    values = [datetime.now(timezone.utc), date(2026, 1, 2), Decimal("1.5"), uuid4(), b"bytes"]
    with app.app_context():
        send_receipt.delay(*values, speaking=Speaking(), nested={"a": [*values]}, keys={1: None})
        pickled.delay(Thing())
    assert queued(app) == 2


def test_the_tasks_serializer_decides(app: Flask) -> None:
    with (
        app.app_context(),
        pytest.raises(UnserializableArgumentError, match=r"args\[0\]: function"),
    ):
        pickled.delay(lambda: None)


@pytest.mark.parametrize("option", ["eta", "expires"])
def test_a_text_that_is_no_date_is_refused_in_words(make_app: MakeApp, option: str) -> None:
    celeriac = Celeriac()

    @celeriac.task
    def nothing() -> None: ...

    app = make_app()
    celeriac.init_app(app)
    with app.app_context(), pytest.raises(InvalidRequestError, match=f"{option}='soon' is no date"):
        nothing.apply_async(**{option: "soon"})


@pytest.mark.parametrize("task", ["echo", "echo_later"])
def test_a_keyword_argument_may_have_any_name(app: Flask, task: Any) -> None:
    task = app.extensions["celery"].tasks[task]
    names = ("self", "task", "cls", "fun", "body", "func", "request", "args", "kwargs", "task_id")
    named = dict.fromkeys(names, 3)
    with app.app_context(), working(app):
        assert task.apply(kwargs=named).get() == named
        assert task.apply_async(kwargs=named).get(timeout=30) == named
        with pytest.raises(OutboxError):  # of an application without a session
            task.delay_on_commit(**named)
