"""What a task knows of its request is what Celery would know."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.utils.threads import _LocalStack
from celery.worker import request as celery_request
from flask import Flask
from kombu.message import Message

from flask_celeriac import Celeriac
from flask_celeriac.request_stack import RequestStack
from flask_celeriac.worker.request import Request


@pytest.fixture
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    app = Flask("requested", instance_path=str(tmp_path_factory.mktemp("instance")))
    celeriac = Celeriac(app)

    @celeriac.task(name="requested")
    def requested() -> None: ...

    return app


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-mine": 1, "celeriac_labels": ["a"]},
        {"lang": "py", "argsrepr": "()", "kwargsrepr": "{}", "retries": 1, "origin": "gen1@host"},
        {"timelimit": [1, 2], "stamps": {}, "stamped_headers": None, "ignore_result": True},
        {"headers": None, "mine": "x"},
    ],
)
def test_a_task_knows_the_headers_that_celery_finds(app: Flask, headers: dict[str, Any]) -> None:
    celery = app.extensions["celery"]
    given = {"task": "requested", "id": "one", **headers}

    def known_by(kind: Any) -> Any:
        message = Message(
            "[[], {}, {}]", content_type="application/json", content_encoding="utf-8",
            headers=dict(given), accept=None,
        )  # fmt: skip
        request = kind(message, app=celery, task=celery.tasks["requested"], hostname="w@host")
        return Context(request.request_dict).headers

    assert known_by(Request) == (known_by(celery_request.Request) or {})


@pytest.mark.parametrize(
    "settings", [{}, {"enable_utc": False}, {"timezone": "UTC"}, {"timezone": "Europe/Berlin"}]
)
def test_whether_times_are_in_utc_is_what_celery_says(
    tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any]
) -> None:
    app = Flask("zoned", instance_path=str(tmp_path_factory.mktemp("zoned")))
    app.config["CELERY"] = settings
    Celeriac(app)
    celery = app.extensions["celery"]
    assert celery.uses_utc_timezone() == Celery.uses_utc_timezone(celery)


@pytest.mark.parametrize("kind", [_LocalStack, RequestStack])
def test_a_stack_of_requests_is_as_celerys(kind: Any) -> None:
    one, other = kind(), kind()
    assert one.pop() is None
    assert one.top is None
    push = one.push  # as the tracer keeps it, which other threads call, too
    push("a")
    other.push("x")
    push("b")
    assert (one.top, other.top, one.stack, len(one), len(other)) == ("b", "x", ["a", "b"], 2, 1)
    elsewhere: list[Any] = []

    def look() -> None:
        elsewhere.append(one.top)
        push("c")
        elsewhere.append((one.top, one.stack, other.top, one.pop(), one.top))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert elsewhere == [None, ("c", ["c"], None, "c", None)]
    assert asyncio.run(_top_of(one)) == "b"
    assert (one.pop(), one.top, one.pop(), one.pop(), other.pop()) == ("b", "a", "a", None, "x")


@pytest.mark.parametrize("kind", [_LocalStack, RequestStack])
def test_a_stack_beneath_another_one_is_popped(kind: Any) -> None:
    one, other = kind(), kind()
    one.push("a")
    other.push("x")
    assert one.pop() == "a"
    assert (one.top, other.top, other.pop()) == (None, "x", "x")


async def _top_of(stack: Any) -> Any:
    return stack.top


def test_tasks_have_such_a_stack(app: Flask) -> None:
    celery = app.extensions["celery"]
    assert isinstance(celery.tasks["requested"].request_stack, RequestStack)
