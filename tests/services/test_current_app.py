"""shared_task, AsyncResult and celery.current_app follow Flask's current_app."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import celery
import pytest
from celery import shared_task
from celery.app.base import Celery
from celery.result import AsyncResult
from flask import Flask, current_app

from flask_celeriac import Celeriac
from flask_celeriac.errors import NotInitializedError

from .conftest import MakeApp, working

whose_name = "current_app.whose"


@shared_task(name=whose_name)
def whose() -> str:
    return current_app.name


@pytest.fixture
def two(make_app: MakeApp) -> tuple[Flask, Flask]:
    first, second = make_app("first"), make_app("second")
    Celeriac(first)
    Celeriac(second)
    return first, second


def seen() -> list[Any]:
    return [
        celery.current_app._get_current_object(),  # type: ignore[attr-defined]
        whose.app,
        AsyncResult("some-id").app,
        AsyncResult("some-id").backend.app,  # type: ignore[attr-defined]
        celery.signature("some.task").app,
    ]


def test_each_application_context_has_its_own_celery(two: tuple[Flask, Flask]) -> None:
    for app in (*two, *two):
        with app.app_context():
            assert all(found == app.extensions["celery"] for found in seen())


def test_without_a_context_it_is_the_application_made_last(two: tuple[Flask, Flask]) -> None:
    assert all(found == two[1].extensions["celery"] for found in seen())


def test_an_application_that_is_gone_is_not_found(make_app: MakeApp) -> None:
    kept = make_app("kept")
    Celeriac(kept)
    gone = Flask("gone")
    Celeriac(gone)
    assert celery.current_app == gone.extensions["celery"]
    del gone
    gc.collect()
    assert celery.current_app == kept.extensions["celery"]


def test_in_threads_that_push_a_context(two: tuple[Flask, Flask]) -> None:
    together = threading.Barrier(2)

    def look(app: Flask) -> bool:
        with app.app_context():
            together.wait(timeout=10)
            return all(found == app.extensions["celery"] for found in seen())

    with ThreadPoolExecutor(2) as executor:
        assert list(executor.map(look, two)) == [True, True]


def test_in_async_views(two: tuple[Flask, Flask]) -> None:
    for app in two:

        async def view() -> dict[str, Any]:
            return {"celery": [found.main for found in seen()]}

        app.add_url_rule("/", view_func=view)
    for app in two:
        assert app.test_client().get("/").json == {"celery": [app.name] * 5}


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_shared_task_is_sent_and_run_by_the_current_application(
    two: tuple[Flask, Flask], pool: str
) -> None:
    first, second = two
    with working(first, pool), first.app_context():
        assert whose.delay().get(timeout=10) == "first"
    with working(second, pool), second.app_context():
        assert whose.delay().get(timeout=10) == "second"


def test_a_running_worker_changes_nothing_for_contexts(two: tuple[Flask, Flask]) -> None:
    first, second = two

    def look() -> bool:
        with second.app_context():
            return all(found == second.extensions["celery"] for found in seen())

    with working(first):
        assert look()
        with ThreadPoolExecutor(1) as executor:
            assert executor.submit(look).result()
        assert celery.current_app == first.extensions["celery"]


def test_a_plain_celery_in_extensions_counts(two: tuple[Flask, Flask]) -> None:
    plain: Celery[Any] = Celery("plain", set_as_current=False)
    app = Flask("has_plain")
    app.extensions["celery"] = plain
    with app.app_context():
        assert celery.current_app == plain


@pytest.mark.parametrize(
    "use",
    [
        lambda: str(whose.delay()),
        lambda: whose.name,
        lambda: AsyncResult("some-id"),
        lambda: celery.signature("some.task").delay(),
        lambda: celery.current_app.conf,
    ],
    ids=["delay", "attribute", "AsyncResult", "signature", "current_app"],
)
def test_in_an_application_without_celery_no_other_takes_its_place(
    two: tuple[Flask, Flask], use: Callable[[], object]
) -> None:
    says = r"'plain' has no Celery: call celeriac\.init_app\(app\)"
    with Flask("plain").app_context(), pytest.raises(NotInitializedError, match=says):
        use()


def test_in_an_application_without_celery_tasks_can_be_declared(two: tuple[Flask, Flask]) -> None:
    with Flask("plain").app_context():

        @shared_task(name="current_app.declared_in_plain")
        def declared() -> str:
            return current_app.name

        celery.chain(celery.signature("some.task"), celery.group(celery.signature("other.task")))
        assert bool(celery.current_app) is True
    with two[0].app_context():
        assert declared.app == two[0].extensions["celery"]


def test_in_an_application_without_celery_another_can_be_named(two: tuple[Flask, Flask]) -> None:
    first = two[0].extensions["celery"]
    with working(two[0]), Flask("plain").app_context():
        assert first.tasks[whose_name].delay().get(timeout=10) == "first"
        assert first.send_task(whose_name).get(timeout=10) == "first"


def test_an_application_can_be_initialised_in_its_own_context(two: tuple[Flask, Flask]) -> None:
    app = Flask("third", instance_path=two[0].instance_path)
    with app.app_context():
        Celeriac(app)
        assert all(found == app.extensions["celery"] for found in seen())
