"""Never run: mypy and pyright read it. What is wrong here has to be marked as an error."""

from __future__ import annotations

from typing import Any

from celery.canvas import Signature
from celery.result import AsyncResult
from typing_extensions import assert_type

from flask_celeriac import Celeriac, Task, current_celeriac

celeriac = Celeriac()


@celeriac.task
def add(a: int, b: int = 0) -> int:
    return a + b


@celeriac.task(name="named", max_retries=3, queue="mail")
def named(a: str) -> str:
    return a


@celeriac.task(bind=True, max_retries=3)
def bound(self: Task[..., Any], order: int, *, urgent: bool = False) -> str:
    return str(self.request.id)


@celeriac.task
async def later(seconds: float) -> int:
    return int(seconds)


@celeriac.task(bind=True)
async def bound_later(self: Task[..., Any], seconds: float) -> int:
    return int(seconds)


@celeriac.periodic("0 6 * * *", timezone="Europe/Berlin")
def daily() -> None: ...


@celeriac.periodic(30, kwargs={"a": 1})
@celeriac.task
def often(a: int) -> None: ...


@celeriac.periodic(30, bind=True)
def bound_often(self: Task[..., Any], a: int = 1) -> str:
    return self.name


def right() -> None:
    assert_type(add.delay(1, b=2), AsyncResult[int])
    assert_type(add.delay(1).get(), int)
    assert_type(add.delay_on_commit(1, b=2), AsyncResult[int])
    assert_type(add.apply_async_on_commit((1, 2), countdown=3), AsyncResult[int])
    assert_type(add(1, 2), int)
    assert_type(add.si(1, 2), Signature[int])
    assert_type(add.s(1), Signature[int])
    assert_type(add.apply_async((1, 2), {"b": 3}, countdown=3, queue="mail"), AsyncResult[int])
    assert_type(named.delay("x"), AsyncResult[str])
    assert_type(bound.delay(1, urgent=True), AsyncResult[str])
    assert_type(bound(1), str)
    assert_type(later.delay(1.5), AsyncResult[int])
    assert_type(later(1.5), int)
    assert_type(bound_later.delay(1.5), AsyncResult[int])
    daily.delay()
    often.delay(1)
    bound_often.delay(2)
    current_celeriac.task(daily)


def wrong() -> None:
    add.delay("1")  # type: ignore[arg-type]
    add.delay()  # type: ignore[call-arg]
    add.delay(1, c=2)  # type: ignore[call-arg]
    add("1")  # type: ignore[arg-type]
    add.si("1")  # type: ignore[arg-type]
    named.delay(1)  # type: ignore[arg-type]
    bound.delay("1")  # type: ignore[arg-type]
    bound.delay(None, 1)  # type: ignore[arg-type,call-arg]
    later.delay("soon")  # type: ignore[arg-type]
    bound_later.delay("soon")  # type: ignore[arg-type]
    daily.delay(1)  # type: ignore[call-arg]
    often.delay("1")  # type: ignore[arg-type]
    bound_often.delay("2")  # type: ignore[arg-type]
