"""``async def`` tasks."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from flask import Flask, current_app, g, url_for

from flask_celeriac import Celeriac, Task

from .conftest import MakeApp, working

celeriac = Celeriac()
threads: list[int] = []


@celeriac.task(bind=True, max_retries=2)
async def greet(self: Task[..., Any], name: str) -> list[Any]:
    """Says hello."""
    await asyncio.sleep(0)
    threads.append(threading.get_ident())
    return [f"hello {name}", current_app.name, self.request.id, self.request.called_directly]


@celeriac.task(autoretry_for=(LookupError,), retry_backoff=False, default_retry_delay=0)
async def flaky(attempts: list[int]) -> int:
    await asyncio.sleep(0)
    attempts.append(1)
    raise LookupError("not yet")


@celeriac.task
async def remember() -> str:
    await asyncio.sleep(0)
    g.remembered = "yes"
    return url_for("index", _external=True)


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    app = make_app()
    app.add_url_rule("/", "index", lambda: "")
    celeriac.init_app(app)
    return app


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_worker_runs_them(app: Flask, pool: str) -> None:
    with working(app, pool), app.app_context():
        result = greet.delay("Ada")
        assert result.get(timeout=10) == ["hello Ada", "shop", result.id, False]


def test_inline_in_the_same_thread(app: Flask) -> None:
    with app.app_context():
        assert greet("Ada")[:2] == ["hello Ada", "shop"]
        assert threads[-1] == threading.get_ident()
        assert greet.__doc__ == "Says hello."


def test_inline_and_eager_under_a_running_loop(app: Flask) -> None:
    app.extensions["celery"].conf.task_always_eager = True

    @app.get("/page")
    async def page() -> dict[str, Any]:
        here = threading.get_ident()
        inline = greet("Ada")
        eager = greet.delay("Bob")
        url = remember()
        return {
            "inline": inline,
            "eager": eager.get() == ["hello Bob", "shop", eager.id, False],
            "beside": here not in threads[-2:],
            "g": g.remembered,
            "url": url,
        }

    answer = app.test_client().get("/page", base_url="https://shop.example").json
    assert answer == {
        "inline": ["hello Ada", "shop", None, True],
        "eager": True,
        "beside": True,
        "g": "yes",
        "url": "https://shop.example/",
    }


def test_autoretry_sees_what_the_body_raises(app: Flask) -> None:
    attempts: list[int] = []
    with app.app_context(), pytest.raises(LookupError):
        flaky.apply((attempts,)).get()
    assert len(attempts) == 4


def test_a_class_with_an_async_run(app: Flask) -> None:
    class Greeter(Task[..., Any]):
        name = "greeter"

        async def run(self, name: str) -> str:
            await asyncio.sleep(0)
            return f"{self.name} greets {name}"

    greeter = app.extensions["celery"].register_task(Greeter())
    assert greeter("Ada") == "greeter greets Ada"


@celeriac.task
async def slow(seen: list[str]) -> None:
    def cut() -> None:
        raise SoftTimeLimitExceeded  # as its signal does, in whatever runs just then

    asyncio.get_running_loop().call_soon(cut)
    try:
        await asyncio.sleep(30)
    finally:
        seen.append("cleaned up")


def test_a_soft_time_limit_that_meets_the_loop_itself_ends_the_task(app: Flask) -> None:
    seen: list[str] = []
    with app.app_context(), pytest.raises(SoftTimeLimitExceeded):
        slow(seen)
    assert seen == ["cleaned up"]


@celeriac.task
async def cancelled() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(30)


def test_a_task_that_cancels_itself_is_cancelled(app: Flask) -> None:
    with app.app_context(), pytest.raises(asyncio.CancelledError):
        cancelled()
