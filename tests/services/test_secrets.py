"""Secrets that are in the configuration or in arguments are nowhere else: no log, no answer."""

from __future__ import annotations

import json
import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery.events import EventReceiver
from flask import Flask
from kombu import Consumer
from sqlalchemy import make_url

from flask_celeriac import Access, Celeriac, ConfigError, cli, operations
from flask_celeriac.logs import LineFormatter
from tests.support.processes import wait_for

from .conftest import MakeApp, working
from .systems import system

CANARY = "canary-4f1d"
URL = f"redis://user:{CANARY}-in-text@cache.internal/0"

celeriac = Celeriac()
going = threading.Event()
may_end = threading.Event()


@celeriac.task(name="secrets.pay", http=True, redact=("card",), bind=True, max_retries=1)
def pay(self: Any, card: str, amount: int, *, api_token: str = "", more: Any = None) -> str:
    going.set()
    assert may_end.wait(30)
    if self.request.retries == 0:
        raise self.retry(countdown=0, exc=RuntimeError(f"{URL} did not answer"))
    raise ConnectionError(f"cannot reach {URL}")


@celeriac.task(name="secrets.told", redact=lambda args, kwargs: (["?"] * len(args), kwargs))
def told(*args: Any, **kwargs: Any) -> None: ...


@celeriac.task(name="secrets.many", redact=("rest", "options"))
def many(first: int, *rest: Any, named: int = 0, **options: Any) -> None: ...


@celeriac.task(name="secrets.called_so")
def called_so(first: int, *tokens: Any, **credentials: Any) -> None: ...


@celeriac.task(name="secrets.untellable", redact=lambda args, kwargs: 1 / 0)
def untellable(*args: Any, **kwargs: Any) -> None: ...


@pytest.fixture
def everything_logged() -> Iterator[list[str]]:
    """What every logger says, at any level."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    root, handler = logging.getLogger(), Keep()
    handler.setFormatter(LineFormatter("%(message)s", task_format="%(message)s"))
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(before)


@contextmanager
def events_of(celery: Any) -> Iterator[list[dict[str, Any]]]:
    """The events that workers send meanwhile."""
    events: list[dict[str, Any]] = []
    ready = threading.Event()

    class Receiver(EventReceiver):  # type: ignore[misc]
        def on_consume_ready(self, *args: Any, **kwargs: Any) -> None:
            ready.set()

    with celery.connection_for_read() as connection:
        receiver = Receiver(connection, handlers={"*": events.append}, app=celery)
        thread = threading.Thread(target=receiver.capture, kwargs={"limit": None, "timeout": None})
        thread.start()
        assert ready.wait(30)
        yield events
        receiver.should_stop = True
        thread.join()


def with_password(url: str) -> str:
    user = make_url(url).username or "default"  # Redis takes any password for that, if it has none
    return make_url(url).set(username=user, password=CANARY).render_as_string(hide_password=False)


@pytest.mark.parametrize("name", ["embedded", "redis+postgresql"])
def test_secrets_are_nowhere(
    name: str, tmp_path: Path, everything_logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    going.clear()
    may_end.clear()
    with system(name, tmp_path, celeriac, worker_send_task_events=True, url_of=with_password,
                CELERIAC_SIGNING_KEYS=[f"{CANARY} is a long secret"]) as app:  # fmt: skip
        celery = app.extensions["celery"]
        app.register_blueprint(celeriac.api(access=lambda: Access.READ), url_prefix="/api")
        said: dict[str, Any] = {}
        with (
            working(app, pool="threads", concurrency=1, task_events=True),
            events_of(celery) as events,
        ):
            result = pay.delay(
                f"{CANARY}-card", 7, api_token=f"{CANARY}-token",
                more={"password": f"{CANARY}-nested", "list": [f"postgres://a:{CANARY}@b/c"]},
            )  # fmt: skip
            assert going.wait(30)
            later = pay.apply_async((f"{CANARY}-later", 7), {"api_token": CANARY}, countdown=3600)
            inspect = celery.control.inspect(timeout=10, limit=1)
            for question in ("active", "reserved", "scheduled", "stats", "conf", "report"):
                said[question] = getattr(inspect, question)()
            said["query"] = inspect.query_task(result.id)
            said["query later"] = inspect.query_task(later.id)
            may_end.set()
            with pytest.raises(ConnectionError):
                result.get(timeout=30)
            kinds = {"task-received", "task-retried", "task-failed"}
            wait_for(
                lambda: kinds <= {event["type"] for event in events},
                f"not all events: {events}",
                10,
            )
        said["events"] = [event for event in events if event["type"].startswith("task-")]
        runner, client = app.test_cli_runner(), app.test_client()
        for command in ("config", "config --all --json", "list", f"show {result.id} --json",
                        f"show {result.id}", "queues"):  # fmt: skip
            said[command] = runner.invoke(cli.celery, command.split()).output
        for path in ("tasks", f"tasks/{result.id}", f"tasks/{result.id}/attempts", "queues"):
            said[path] = client.get(f"/api/{path}").get_data(as_text=True)
        task = operations.show(celery, result.id)
        said["repr"] = repr([celery, celery.celeriac.settings, celery.policy, task])
    said["log"] = everything_logged
    leaks = [key for key, value in said.items() if CANARY in json.dumps(value, default=repr)]
    assert leaks == []
    assert all(said.values()), said
    assert task.args == ["**", 7]
    if name == "embedded":
        assert later.id in json.dumps(said["scheduled"])
        assert later.id in json.dumps(said["query later"])
    assert not any(CANARY in file.read_text("latin-1") for file in temporary.rglob("*.*"))


def headers_of(app: Flask, send: Any) -> dict[str, Any]:
    found: list[Any] = []
    celery = app.extensions["celery"]
    send()
    with celery.connection_for_read() as connection:
        queue = celery.amqp.queues["celery"]
        with Consumer(connection, [queue], on_message=found.append, accept=None):
            connection.drain_events(timeout=10)
            found[0].ack()
    headers: dict[str, Any] = found[0].headers
    return headers


@pytest.mark.parametrize("learned", [False, True])
def test_messages_say_of_what_kind_arguments_are(make_app: MakeApp, learned: bool) -> None:
    app = make_app()
    celeriac.init_app(app)
    with app.app_context():
        if learned:
            headers_of(app, told.delay)
        headers = headers_of(app, lambda: told.delay(1, "two", [3], None, word="secret"))
        assert headers["argsrepr"] == "(<int>, <str>, <list>, <NoneType>)"
        assert headers["kwargsrepr"] == "{'word': <str>}"
        headers = headers_of(app, lambda: told.delay(1))
        assert (headers["argsrepr"], headers["kwargsrepr"]) == ("(<int>,)", "{}")
        headers = headers_of(app, lambda: told.apply_async((1,), argsrepr="(mine)"))
        assert headers["argsrepr"] == "(mine)"


@pytest.mark.parametrize("learned", [False, True])
def test_values_are_shown_to_those_who_ask_for_it(make_app: MakeApp, learned: bool) -> None:
    app = make_app(CELERIAC_SHOW_ARGUMENTS=True)
    celeriac.init_app(app)
    with app.app_context():
        if learned:
            headers_of(app, lambda: pay.delay("card", 7))
        headers = headers_of(app, lambda: pay.delay("card", 7, api_token="t", more=[1]))
        assert headers["argsrepr"] == "('**', 7)"
        assert headers["kwargsrepr"] == "{'api_token': '**', 'more': [1]}"


def test_a_task_says_what_may_be_shown(make_app: MakeApp) -> None:
    app = make_app()
    celeriac.init_app(app)
    with app.app_context():
        celery = app.extensions["celery"]
        shown = operations.show(celery, told.delay("a", 2, b=3).id)
        assert (shown.args, shown.kwargs) == (["?", "?"], {"b": 3})
        shown = operations.show(celery, many.delay(1, 2, 3, 4, named=5, other=6, first_=7).id)
        assert shown.args == [1, "**", "**", "**"]
        assert shown.kwargs == {"named": 5, "other": "**", "first_": "**"}
        shown = operations.show(celery, called_so.delay(1, 2, 3, url="x", no=None).id)
        assert shown.args == [1, "**", "**"]
        assert shown.kwargs == {"url": "**", "no": None}
        shown = operations.show(celery, untellable.delay("a", 2, b=3).id)
        assert (shown.args, shown.kwargs) == (["**", "**"], {"b": "**"})


def test_a_name_to_hide_that_is_no_argument_is_refused(make_app: MakeApp) -> None:
    mine = Celeriac()
    with pytest.raises(ConfigError, match="no argument 'crad': did you mean 'card'"):

        @mine.task(redact=("crad",))
        def pay(card: str) -> None: ...

    with pytest.raises(ConfigError, match="give names"):

        @mine.task(redact=True)
        def refund(card: str) -> None: ...

    @mine.task(name="secrets.charge", redact="card")
    def charge(card: str, car: str) -> None: ...

    app = make_app()
    mine.init_app(app)
    with app.app_context():
        charge.delay("4111", "blue")
        (task,) = operations.list_tasks(app.extensions["celery"]).tasks
    assert task.args == ["**", "blue"]
