"""What a task gets of the arguments it is started with over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from kombu import pools
from pydantic import BaseModel

from flask_celeriac import Access, Celeriac
from tests.api.conftest import API, Client
from tests.services.conftest import working

celeriac = Celeriac()

#: Seconds; what ends at once is not waited for longer.
LONG = 25


class Model(BaseModel):
    n: int
    when: datetime


class Color(Enum):
    RED = "red"


@celeriac.task(name="arguments.kept", http=True)
def kept(
    moments: list[datetime], day: date, at: time, key: UUID, x: Decimal, b: bytes
) -> list[str]:
    return [type(each).__name__ for each in (moments[0], day, at, key, x, b)]


@celeriac.task(name="arguments.plain", http=True)
def plain(model: Model, color: Color, pair: tuple[int, int]) -> list[Any]:
    return [model, color, pair, type(pair).__name__]


@celeriac.task(name="arguments.made", http=True, pydantic=True)
def made(model: Model) -> list[str]:
    return [type(each).__name__ for each in (model, model.when)]


@celeriac.task(name="arguments.rest", http=True)
def rest(a: int, *args: int, **kwargs: int) -> list[Any]:
    return [a, args, kwargs]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    app = Flask("arguments", instance_path=str(tmp_path_factory.mktemp("arguments")))
    celeriac.init_app(app)
    app.register_blueprint(celeriac.api(access=lambda: Access.OPERATE), url_prefix=API)
    with working(app):
        yield Client(app.test_client())
    pools.reset()


MOMENT = "2026-11-21T08:00:00Z"
MODEL = {"n": 1, "when": MOMENT}


def test_what_celery_can_carry_arrives_as_its_type_hint_says(api: Client) -> None:
    key = "12345678-1234-5678-1234-567812345678"
    given = {"moments": [MOMENT], "day": "2026-11-21", "at": "08:00:00", "x": "1.50", "b": "x"}
    task = api.start("arguments.kept", key=key, **given, wait=LONG)
    assert task["result"] == ["datetime", "date", "time", "UUID", "Decimal", "bytes"]


def test_everything_else_arrives_as_plain_data(api: Client) -> None:
    task = api.start("arguments.plain", model=MODEL, color="red", pair=[1, 2], wait=LONG)
    assert task["result"] == [MODEL, "red", [1, 2], "list"]


def test_celery_makes_models_where_it_is_told_to(api: Client) -> None:
    task = api.start("arguments.made", model=MODEL, wait=LONG)
    assert task["result"] == ["Model", "datetime"]


@pytest.mark.parametrize(
    ("args", "kwargs", "result"),
    [
        ([1, 2, 3], {}, [1, [2, 3], {}]),
        ([], {"a": 1}, [1, [], {}]),
        ([], {"a": 1, "z": 2}, [1, [], {"z": 2}]),
        ([1], {"z": 2}, [1, [], {"z": 2}]),
    ],
)
def test_a_task_may_take_any_number_of_arguments(
    api: Client, args: list[int], kwargs: dict[str, int], result: list[Any]
) -> None:
    assert api.start("arguments.rest", *args, **kwargs, wait=LONG)["result"] == result


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"args": [1, 2], "kwargs": {"z": 3}}, "/kwargs"),
        ({"args": [1], "kwargs": {"a": 1}}, "/kwargs/a"),
        ({"kwargs": {"z": 3}}, "/kwargs/a"),
        ({}, "/kwargs/a"),
    ],
)
def test_what_cannot_be_given_is_refused_with_its_place(
    api: Client, body: dict[str, Any], place: str
) -> None:
    response = api("POST", "/types/arguments.rest/tasks", body)
    assert response.status_code == 422
    assert response.json is not None
    assert [each["place"] for each in response.json["errors"]] == [place]
