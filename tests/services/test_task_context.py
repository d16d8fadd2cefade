"""In which application context a task runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import celery
import flask
import pytest
from flask import Flask, current_app, g
from flask.globals import app_ctx

from flask_celeriac import Celeriac, Task

from .conftest import MakeApp, working


def context() -> Any:
    return app_ctx._get_current_object()  # type: ignore[attr-defined]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    app = make_app()
    Celeriac(app)
    return app


CALLS = [
    pytest.param(lambda task: task(), id="inline"),
    pytest.param(lambda task: task.apply().get(), id="apply"),
    pytest.param(lambda task: task.delay().get(), id="eager"),
]


@pytest.mark.parametrize("call", CALLS)
def test_inline_and_eager_calls_keep_the_callers_context(
    app: Flask, call: Callable[[Any], Any]
) -> None:
    torn_down: list[BaseException | None] = []
    app.teardown_appcontext(torn_down.append)
    app.extensions["celery"].conf.task_always_eager = True
    inside = []

    @app.extensions["celery"].task(shared=False)  # type: ignore[untyped-decorator]
    def look() -> str:
        inside.append(context())
        return str(g.name)

    with app.app_context():
        g.name = "caller's"
        assert call(look) == "caller's"
        assert inside == [context()]
        assert torn_down == []


@pytest.mark.parametrize("call", CALLS)
def test_a_request_context_stays_too(app: Flask, call: Callable[[Any], Any]) -> None:
    app.extensions["celery"].conf.task_always_eager = True

    @app.extensions["celery"].task(shared=False)  # type: ignore[untyped-decorator]
    def look() -> str:
        return flask.request.path

    with app.test_request_context("/orders"):
        assert call(look) == "/orders"


@pytest.mark.parametrize("call", CALLS)
def test_without_a_context_one_is_pushed(app: Flask, call: Callable[[Any], Any]) -> None:
    app.extensions["celery"].conf.task_always_eager = True
    torn_down: list[BaseException | None] = []
    app.teardown_appcontext(torn_down.append)

    @app.extensions["celery"].task(shared=False)  # type: ignore[untyped-decorator]
    def look() -> str:
        return current_app.name

    assert call(look) == "shop"
    assert torn_down == [None]
    assert not flask.has_app_context()


@pytest.mark.parametrize("call", CALLS)
def test_the_context_of_another_application_is_not_kept(
    app: Flask, call: Callable[[Any], Any]
) -> None:
    app.extensions["celery"].conf.task_always_eager = True

    @app.extensions["celery"].task(shared=False)  # type: ignore[untyped-decorator]
    def look() -> str:
        return current_app.name

    with Flask("other").app_context():
        assert call(look) == "shop"
        assert current_app.name == "other"


def test_a_worker_gives_every_run_a_context_of_its_own(app: Flask) -> None:
    torn_down: list[BaseException | None] = []
    app.teardown_appcontext(torn_down.append)
    inside = []

    @app.extensions["celery"].task(shared=False)  # type: ignore[untyped-decorator]
    def look() -> bool:
        inside.append(context())
        return hasattr(g, "seen") or g.setdefault("seen", False)

    with working(app):
        assert [look.delay().get(timeout=10) for _ in range(2)] == [False, False]
    assert inside[0] is not inside[1]
    assert torn_down == [None, None]


def test_a_failure_reaches_the_teardown(app: Flask) -> None:
    torn_down: list[BaseException | None] = []
    app.teardown_appcontext(torn_down.append)

    @app.extensions["celery"].task(shared=False)  # type: ignore[untyped-decorator]
    def fail() -> None:
        raise LookupError("no such order")

    with working(app):
        fail.delay().get(timeout=10, propagate=False)
    assert isinstance(torn_down[0], LookupError)


def test_a_context_left_behind_is_not_used(app: Flask) -> None:
    """As by ``flask`` commands and by ``app.app_context().push()`` in a worker's module."""
    celery_app = app.extensions["celery"]
    inside = []

    @celery_app.task(shared=False)  # type: ignore[untyped-decorator]
    def look() -> None:
        inside.append(context())

    with app.app_context():
        left_behind = context()
        run_as_a_worker_does(celery_app, "tests.services.test_task_context.look")
        run_as_a_worker_does(celery_app, "tests.services.test_task_context.look")
        assert context() is left_behind
    assert len({left_behind, *inside}) == 3


def run_as_a_worker_does(celery_app: celery.Celery[Any], name: str, **request: Any) -> Any:
    from celery.app.trace import build_tracer

    tracer = build_tracer(name, celery_app.tasks[name], app=celery_app)
    request = {"id": "an-id", "delivery_info": {}, **request}
    return tracer("an-id", [], {}, request).retval


def test_a_task_calling_itself_and_others_inline_stays_in_its_context(app: Flask) -> None:
    celery_app = app.extensions["celery"]

    @celery_app.task(shared=False, name="other", bind=True)  # type: ignore[untyped-decorator]
    def other(self: Task[..., Any]) -> tuple[int, bool]:
        return id(context()), bool(self.request.called_directly)

    @celery_app.task(shared=False, name="again", bind=True)  # type: ignore[untyped-decorator]
    def again(self: Task[..., Any], depth: int = 0) -> list[Any]:
        here = [id(context()), bool(self.request.called_directly)]
        if depth:
            return [here]
        inner: Any = self
        return [here, *inner(1), list(other()), *inner.apply((1,)).get(disable_sync_subtasks=False)]

    with working(app):
        runs = again.delay().get(timeout=10)
    assert len({run[0] for run in runs}) == 1
    # Celery keeps the request of a task that calls itself.
    assert [run[1] for run in runs] == [False, False, True, False]


def test_a_task_class_of_the_users_wins(app: Flask) -> None:
    celery_app = app.extensions["celery"]
    contexts = []

    class ContextTask(celery_app.Task):  # type: ignore[misc,name-defined]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with app.app_context():
                contexts.append(context())
                return super().__call__(*args, **kwargs)

    celery_app.Task = ContextTask

    @celery_app.task(shared=False, name="mine", bind=True)  # type: ignore[untyped-decorator]
    def mine(self: Any) -> str:
        contexts.append(context())
        return type(self).__mro__[1].__name__

    with working(app):
        assert mine.delay().get(timeout=10) == "ContextTask"
    outer, inner = contexts
    assert outer is inner


def test_a_call_that_another_class_brings_in_wins(app: Flask) -> None:
    celery_app = app.extensions["celery"]
    contexts, before = [], []

    class Pushing:
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with app.app_context():
                contexts.append(context())
                return super().__call__(*args, **kwargs)  # type: ignore[misc]

    class Mixed(Pushing, celery_app.Task):  # type: ignore[misc,name-defined]
        def before_start(self, *_: Any) -> None:
            before.append(flask.has_app_context())

    @celery_app.task(shared=False, name="mixed", base=Mixed)  # type: ignore[untyped-decorator]
    def mixed() -> None:
        contexts.append(context())

    with app.app_context():  # left behind
        run_as_a_worker_does(celery_app, "mixed")
        left_behind = context()
    outer, inner = contexts
    assert outer is inner
    assert inner is not left_behind
    assert before == [True]


def test_retries_and_the_request_work(app: Flask) -> None:
    @app.extensions["celery"].task(shared=False, bind=True, max_retries=3, base=Task)  # type: ignore[untyped-decorator]
    def flaky(self: Task[..., Any], key: str) -> list[Any]:
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return [self.request.retries, self.request.id, key]

    with working(app):
        result = flaky.delay(key="value")
        assert result.get(timeout=10) == [2, result.id, "value"]
    assert flaky.apply(("value",)).get()[0] == 2


def test_an_inline_call_that_notes_its_progress_stores_nothing(app: Flask) -> None:
    """There is no task it could be noted of."""

    @app.extensions["celery"].task(bind=True, shared=False)  # type: ignore[untyped-decorator]
    def count(self: Task[..., Any], total: int) -> int:
        for current in range(total):
            self.update_state(state="PROGRESS", meta={"current": current})
        return total

    assert count(2) == 2
