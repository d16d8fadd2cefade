"""What differs from Celery's defaults on which broker, and that the user's word counts more."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery
from flask import Flask

from flask_celeriac import Celeriac, FlaskCelery, brokers, celery_init_app
from flask_celeriac.defaults import TRANSPORT_OPTIONS

from .conftest import MakeApp, working

URLS = {
    "embedded": None,
    "redis": "redis://localhost",
    "rabbitmq": "amqp://localhost//",
    "other": "memory://",
}


def celery_of(make_app: MakeApp, **settings: Any) -> Any:
    app = make_app(CELERY=settings)
    Celeriac(app)
    return app.extensions["celery"]


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("celeriac:////a/b.db", "embedded"),
        ("redis://localhost", "redis"),
        ("rediss://localhost", "redis"),
        ("redis+socket:///run/redis.sock", "redis"),
        ("sentinel://a:26379;sentinel://b:26379", "redis"),
        ("amqp://", "rabbitmq"),
        ("amqps://a//;amqps://b//", "rabbitmq"),
        ("pyamqp://a", "rabbitmq"),
        ("localhost", "rabbitmq"),
        (["AMQP://a", "amqp://b"], "rabbitmq"),
        ("sqs://", "other"),
        ("memory://", "other"),
    ],
)
def test_which_broker_it_is(url: Any, kind: str) -> None:
    assert brokers.kind_of_url(url) == kind
    assert brokers.kind_of(Celery(broker=url, set_as_current=False).conf) == kind


def test_threads_that_read_it_first_see_the_same(make_app: MakeApp) -> None:
    """With our defaults, which Celery would add when others see its configuration already."""
    for _ in range(20):
        conf = celery_of(make_app, broker_transport_options={"a": 1}).conf
        together = threading.Barrier(8)

        def read(_: int, conf: Any = conf, together: threading.Barrier = together) -> Any:
            together.wait()
            seen = conf.broker_url, conf.result_backend, conf.task_acks_late
            return *seen, tuple(conf.broker_transport_options)

        with ThreadPoolExecutor(8) as pool:
            (seen,) = set(pool.map(read, range(8)))
        assert seen[0].startswith("celeriac:///")
        assert seen[1:] == (seen[0], True, ("durability", "a"))


def test_it_may_be_configured_again(make_app: MakeApp) -> None:
    app = celery_of(make_app)
    assert app.conf.task_acks_late
    app.config_from_object({"broker_url": "redis://localhost", "task_acks_late": False})
    assert app.conf.broker_url == "redis://localhost"
    assert not app.conf.task_acks_late
    assert app.conf.broker_transport_options["socket_timeout"] == 30
    assert "task_reject_on_worker_lost" in app.conf.table()


def test_what_is_configured_again_is_the_users(make_app: MakeApp) -> None:
    """Our transport options stay ours, and those of another broker go."""
    app = celery_of(make_app, broker_transport_options={"a": 1})
    assert app.conf.broker_transport_options == {"durability": "normal", "a": 1}
    assert app.own_transport_options == {"durability": "normal"}
    for _ in range(2):
        app.config_from_object({"broker_url": "redis://localhost"})
        ours = TRANSPORT_OPTIONS["redis"]
        assert app.conf.broker_transport_options == {**ours, "a": 1}
        assert app.own_transport_options == ours


@pytest.mark.parametrize("broker", URLS)
def test_it_may_be_read_before_there_is_an_application(make_app: MakeApp, broker: str) -> None:
    celery: Any = FlaskCelery("early")
    celery.conf.update(broker_transport_options={"a": 1}, task_time_limit=7)
    assert celery.conf.timezone is None
    if URLS[broker]:
        celery.conf.broker_url = URLS[broker]
    assert celery_init_app(make_app(), celery) is celery
    assert brokers.kind_of(celery.conf) == broker
    assert celery.conf.task_acks_late
    assert celery.conf.task_time_limit == 7
    assert celery.conf.broker_transport_options["a"] == 1
    assert set(celery.own_transport_options) < set(celery.conf.broker_transport_options)


@pytest.mark.parametrize("nothing", [None, ""])
@pytest.mark.parametrize("read", [True, False])
def test_no_broker_is_the_embedded_one(make_app: MakeApp, nothing: Any, read: bool) -> None:
    celery = celery_init_app(make_app())
    if read:
        celery.config_from_object({"broker_url": nothing})
    else:
        celery.conf.update(broker_url=nothing)
    assert brokers.kind_of(celery.conf) == "embedded"
    assert celery.conf.broker_url == celery.conf.result_backend


@pytest.mark.parametrize("old", [{"BROKER_URL": "redis://localhost"}, {"CELERY_ACKS_LATE": False}])
def test_old_names_of_settings_are_read_beside_them(make_app: MakeApp, old: Any) -> None:
    app = celery_of(make_app)
    app.config_from_object(old)
    assert app.conf.broker_url.partition(":")[0] in ("redis", "celeriac")
    assert app.conf.task_acks_late is old.get("CELERY_ACKS_LATE", True)
    assert app.conf.task_reject_on_worker_lost


@pytest.mark.parametrize("broker", URLS)
def test_no_task_is_lost_by_default(make_app: MakeApp, broker: str) -> None:
    conf = celery_of(make_app, broker_url=URLS[broker]).conf
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.worker_prefetch_multiplier == 1
    assert conf.broker_connection_retry_on_startup
    assert not conf.worker_hijack_root_logger
    assert not conf.task_retry_on_worker_lost
    assert conf.worker_soft_shutdown_timeout == 5
    assert conf.worker_cancel_long_running_tasks_on_connection_loss == (broker == "rabbitmq")


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
@pytest.mark.parametrize("place", ["app.config", "conf", "object"])
def test_the_users_transport_options_lie_over_ours(
    make_app: MakeApp, broker: str, place: str
) -> None:
    ours = {"redis": "socket_keepalive", "rabbitmq": "confirm_publish"}[broker]
    given = {"broker_transport_options": {"client_name": "shop", "socket_timeout": 7}}
    celery = celery_of(make_app, broker_url=URLS[broker], **(given if place[0] == "a" else {}))
    if place == "conf":
        celery.conf.update(given)
    elif place == "object":
        celery.config_from_object(given)
    options = celery.conf.broker_transport_options
    assert options[ours] is True
    assert (options["client_name"], options["socket_timeout"]) == ("shop", 7)
    assert celery.connection_for_write().transport_options["socket_timeout"] == 7


def test_what_the_user_says_about_ours_wins(make_app: MakeApp) -> None:
    settings = {
        "task_acks_late": False,
        "worker_prefetch_multiplier": 4,
        "worker_soft_shutdown_timeout": 0,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_transport_options": {"confirm_publish": False},
        "broker_connection_timeout": 3,
    }
    celery = celery_of(make_app, broker_url=URLS["rabbitmq"], **settings)
    assert {name: celery.conf[name] for name in settings} == settings
    assert celery.connection_for_write().connect_timeout == 3
    assert celery.connection_for_write(connect_timeout=5).connect_timeout == 5


def test_results_in_redis_wait_for_it(make_app: MakeApp) -> None:
    for url, waits in (("rediss://localhost", True), ("cache+memory://", False)):
        conf = celery_of(make_app, broker_url=URLS["rabbitmq"], result_backend=url).conf
        assert conf.result_backend_always_retry is waits


#: kombu's transport for Redis, in which nobody renews what a living worker has.
NO_CLAIMS = {"claims": False}


def test_no_date_is_too_far_away_for_redis(
    make_app: MakeApp, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    celery_of(make_app, broker_url=redis_url).send_task("later", countdown=3 * 86400)
    assert caplog.messages == []


def test_a_date_too_far_away_without_claims_is_told_once_for_each_task(
    make_app: MakeApp, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    celery = celery_of(make_app, broker_url=redis_url, broker_transport_options=NO_CLAIMS)
    celery.send_task("soon", countdown=3599)
    assert caplog.messages == []
    celery.send_task("later", countdown=3 * 3600 + 1)
    celery.send_task("later", countdown=4 * 3600)
    (message,) = caplog.messages
    assert message.startswith("later is to start in 3 hours, but without claims")
    assert "about 4 times" in message
    assert 'broker_transport_options["visibility_timeout"]' in message
    far = datetime.now(timezone.utc) + timedelta(days=3)
    celery.send_task("a", eta=far)
    celery.send_task("b", eta=far.isoformat())
    celery.send_task("c", eta=far.replace(tzinfo=None))
    assert [message[0] for message in caplog.messages[1:]] == ["a", "b", "c"]


def test_a_longer_visibility_timeout_is_heeded(
    make_app: MakeApp, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = {**NO_CLAIMS, "visibility_timeout": 86400}
    celery = celery_of(make_app, broker_url=redis_url, broker_transport_options=options)
    celery.send_task("later", countdown=86399)
    assert caplog.messages == []


@pytest.mark.parametrize("broker", ["embedded", "redis", "redis without claims", "rabbitmq"])
def test_a_worker_says_which_tasks_may_run_for_too_long(
    make_app: MakeApp,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    broker: str,
) -> None:
    server = broker.removesuffix(" without claims")
    url = None if broker == "embedded" else request.getfixturevalue(f"{server}_url")
    settings = {"broker_url": url, "task_time_limit": 7200}
    if broker == "redis without claims":
        settings["broker_transport_options"] = NO_CLAIMS
    app: Flask = make_app(CELERY=settings)
    celeriac = Celeriac(app)

    @celeriac.task(name="slow", time_limit=86400)
    def slow() -> None: ...

    with caplog.at_level(logging.WARNING, "flask_celeriac"), working(app):
        pass
    told = [message for message in caplog.messages if " may run for " in message]
    remedy = {"redis without claims": "visibility_timeout", "rabbitmq": "consumer_timeout"}.get(
        broker, ""
    )
    assert [message.split()[0] for message in told] == (["A", "slow"] if remedy else [])
    assert all(remedy in message for message in told)
