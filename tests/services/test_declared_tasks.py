"""``@celeriac.task``: declared once, a task of every application."""

from __future__ import annotations

import gc
import pickle
from typing import Any

import celery
import pytest
from flask import Flask, current_app

from flask_celeriac import Celeriac, Task, current_celeriac
from flask_celeriac.errors import NotInitializedError

from .conftest import MakeApp, working


def test_on_every_application_earlier_and_later(make_app: MakeApp) -> None:
    celeriac = Celeriac()
    early, late, foreign = make_app("early"), make_app("late"), make_app("foreign")
    celeriac.init_app(early)
    Celeriac(foreign)
    early.extensions["celery"].finalize()

    @celeriac.task
    def whose() -> str:
        return current_app.name

    celeriac.init_app(late)
    name = f"{__name__}.whose"
    assert whose.name == name
    for app in (early, late):
        with app.app_context():
            assert whose.app is app.extensions["celery"]
            assert whose() == app.name
        with working(app), app.app_context():
            assert whose.delay().get(timeout=10) == app.name
    assert name not in foreign.extensions["celery"].tasks
    assert whose.app is late.extensions["celery"]
    with foreign.app_context(), pytest.raises(NotInitializedError, match=r"init_app\(app\)"):
        whose.delay()


def test_before_there_is_any_application() -> None:
    celeriac = Celeriac()

    @celeriac.task(name="lonely")
    def lonely() -> None:
        """Says nothing."""

    with pytest.raises(NotInitializedError, match=r"call celeriac\.init_app\(app\)"):
        lonely.delay()
    assert repr(lonely)
    with pytest.raises(NotInitializedError):
        _ = current_celeriac.task


def test_an_application_can_be_forgotten() -> None:
    celeriac = Celeriac()

    @celeriac.task
    def anything() -> None: ...

    celeriac.init_app(Flask("short"))
    gc.collect()
    with pytest.raises(NotInitializedError):
        anything.delay()


def test_options(make_app: MakeApp) -> None:
    celeriac = Celeriac()
    app = make_app()

    class Mailer(Task[..., Any]):
        greeting = "hello"

    @celeriac.task(bind=True, base=Mailer, queue="mail", priority=7, max_retries=5, name="mails")
    def send(self: Mailer, name: str) -> list[Any]:
        return [self.greeting, name, self.max_retries, self.request.delivery_info["priority"]]  # type: ignore[index]

    celeriac.init_app(app)
    assert send.name == "mails"
    assert isinstance(send, Mailer)
    assert (send.queue, send.priority) == ("mail", 7)  # type: ignore[attr-defined]
    with working(app, queues=["mail"]):
        assert send.delay("Ada").get(timeout=10) == ["hello", "Ada", 5, 7]
        by_name = app.extensions["celery"].send_task("mails", ("Bob",))
        assert by_name.get(timeout=10) == ["hello", "Bob", 5, 7]


def test_a_task_class_of_the_users_keeps_the_queue(make_app: MakeApp) -> None:
    celeriac = Celeriac()

    @celeriac.task(queue="mail", name="mails")
    def send() -> None: ...

    app = make_app()
    celeriac.init_app(app)

    class Mine(celery.Task[..., Any]): ...

    app.extensions["celery"].Task = Mine
    assert isinstance(send, Mine)
    assert vars(send.__class__)["queue"] == "mail"


def test_the_task_is_what_it_looks_like(make_app: MakeApp) -> None:
    celeriac = Celeriac()

    @celeriac.task
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    app = make_app()
    celeriac.init_app(app)
    assert isinstance(add, Task)
    assert add.__doc__ == "Adds."
    assert add.s(1, 2).task == add.name
    with app.app_context():
        assert pickle.loads(pickle.dumps(add)) == app.extensions["celery"].tasks[add.name]
        assert add(1, 2) == 3
        with pytest.raises(TypeError):
            add.delay(1, 2, 3)  # type: ignore[call-arg]


def test_current_celeriac(make_app: MakeApp) -> None:
    first, second = Celeriac(), Celeriac()
    apps = make_app("first"), make_app("second")
    first.init_app(apps[0])
    second.init_app(apps[1])
    with apps[0].app_context():
        assert current_celeriac == first
    with apps[1].app_context():
        assert current_celeriac == second
    with Flask("bare").app_context(), pytest.raises(NotInitializedError):
        _ = current_celeriac.task
