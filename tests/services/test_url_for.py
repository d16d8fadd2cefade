"""``url_for(..., _external=True)`` in tasks."""

from __future__ import annotations

from typing import Any

import pytest
from celery import chain, chord, group
from flask import Flask, url_for

from flask_celeriac import Celeriac, Task

from .conftest import MakeApp, working

celeriac = Celeriac()


@celeriac.task
def link(*_: Any) -> str:
    return url_for("order", number=7, _external=True)


@celeriac.task
def link_by_another(by_name: bool = False) -> str:
    other = link.app.send_task(link.name) if by_name else link.delay()
    return str(other.get(timeout=10, disable_sync_subtasks=False))


@celeriac.task(bind=True)
def link_at_second_try(self: Task[..., Any]) -> str:
    if not self.request.retries:
        raise self.retry(countdown=0)
    return link()


@celeriac.task(bind=True)
def headers(self: Task[..., Any]) -> dict[str, Any] | None:
    return self.request.headers


def make(make_app: MakeApp, **config: Any) -> Flask:
    app = make_app(**config)
    app.add_url_rule("/orders/<int:number>", "order", lambda number: "")
    celeriac.init_app(app)
    return app


def in_request(app: Flask, path: str = "/", base: str = "https://shop.example:8443/app") -> Any:
    return app.test_request_context(path, base_url=base)


HERE = "https://shop.example:8443/app/orders/7"


def test_the_requests_url_root_is_carried(make_app: MakeApp) -> None:
    app = make(make_app)
    with working(app, "threads", concurrency=6), in_request(app):
        sent = {
            "delay": link.delay(),
            "by name": app.extensions["celery"].send_task(link.name),
            "by a task": link_by_another.delay(),
            "by a task, by name": link_by_another.delay(by_name=True),
            "retried": link_at_second_try.delay(),
            "chain": chain(headers.si(), link.s(), link.s())(),
            "group": group(headers.si(), link.s())().results[1],
            "chord": chord([headers.si(), headers.si()], link.s())(),
        }
        assert {name: result.get(timeout=20) for name, result in sent.items()} == dict.fromkeys(
            sent, HERE
        )


def test_the_callers_headers_stay(make_app: MakeApp) -> None:
    app = make(make_app)
    with working(app), in_request(app):
        result = headers.apply_async(headers={"trace": "1-2"})
        assert result.get(timeout=10) == {
            "trace": "1-2",
            "celeriac_url_root": "https://shop.example:8443/app/",
        }


def test_outside_a_request_nothing_is_carried(make_app: MakeApp) -> None:
    app = make(make_app)
    with working(app), app.app_context():
        assert headers.delay().get(timeout=10) == {}
        with pytest.raises(RuntimeError, match="SERVER_NAME"):
            link.delay().get(timeout=10)


def test_a_configured_base_wins(make_app: MakeApp) -> None:
    """A Host header is written by whoever sends the request."""
    app = make(make_app, CELERIAC_URL_BASE="https://www.shop.example/app")
    with working(app):
        with in_request(app, base="https://evil.example"):
            assert headers.delay().get(timeout=10) == {}
            assert link.delay().get(timeout=10) == "https://www.shop.example/app/orders/7"
        with app.app_context():
            assert link.delay().get(timeout=10) == "https://www.shop.example/app/orders/7"
    assert link() == "https://www.shop.example/app/orders/7"


def test_server_name_is_what_is_left(make_app: MakeApp) -> None:
    app = make(make_app, SERVER_NAME="named.example")
    with working(app):
        with app.app_context():
            assert link.delay().get(timeout=10) == "http://named.example/orders/7"
        with in_request(app, base="https://named.example"):
            assert link.delay().get(timeout=10) == "https://named.example/orders/7"


def test_another_applications_request_is_not_carried(make_app: MakeApp) -> None:
    app = make(make_app)
    task = app.extensions["celery"].tasks[headers.name]
    with working(app), Flask("other").test_request_context(base_url="https://other.example"):
        assert task.delay().get(timeout=10) == {}


@pytest.mark.parametrize("root", ["javascript:alert(1)", "shop.example", 7, ""])
def test_what_is_no_url_is_not_used(make_app: MakeApp, root: Any) -> None:
    app = make(make_app)
    with working(app), app.app_context():
        result = link.apply_async(headers={"celeriac_url_root": root})
        with pytest.raises(RuntimeError, match="SERVER_NAME"):
            result.get(timeout=10)


def test_subdomains(make_app: MakeApp) -> None:
    app = Flask("sub", subdomain_matching=True)
    app.config["SERVER_NAME"] = "shop.example"
    app.add_url_rule("/", "index", lambda: "", subdomain="www")
    from flask_celeriac.url_base import adapter

    built = adapter(app, "https://blog.shop.example/app/")
    assert built is not None
    assert built.build("index", force_external=True) == "https://www.shop.example/app/"
