"""A caller is told soon, and by one error, that a task cannot be sent or its result be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import chord, group
from flask import Flask
from kombu import Connection
from kombu.exceptions import OperationalError

from flask_celeriac import Celeriac, sqlite
from flask_celeriac.errors import RecordsUnavailableError
from tests.broker.redis.proxy import Proxy

from .conftest import MakeApp, Worker, working
from .gate import Gate

TASK = "name_of_the_task"


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[Gate]:
    with Gate(request.getfixturevalue(f"{request.param}_url")) as door:
        yield door


@pytest.fixture
def store(redis_url: str) -> Iterator[Gate]:
    with Gate(redis_url) as door:
        yield door


def celery_of(make_app: MakeApp, **settings: Any) -> Any:
    app = make_app(CELERY=settings)
    Celeriac(app)
    return app.extensions["celery"]


def waiting_in(url: str) -> int:
    with Connection(url) as connection, connection.SimpleQueue("celery") as queue:
        return queue.qsize()


def refused(send: Callable[[], object]) -> None:
    """It fails, and the second time as well."""
    for _ in range(2):
        with pytest.raises(OperationalError):
            send()


@pytest.mark.parametrize("state", ["shut", "silent", "full"])
def test_no_task_is_sent_through_a_door(make_app: MakeApp, broker: Gate, state: str) -> None:
    celery = celery_of(make_app, broker_url=broker.url)
    if state != "shut":
        getattr(broker, state)()
    with pytest.raises(OperationalError):
        celery.send_task(TASK)
    with pytest.raises(OperationalError):
        celery.send_task(TASK, countdown=9)
    assert TASK.encode() not in broker.received


def test_a_broker_that_comes_back_gets_what_is_sent_then_and_nothing_else(
    make_app: MakeApp, broker: Gate
) -> None:
    celery = celery_of(make_app, broker_url=broker.url)
    broker.silent()
    refused(lambda: celery.send_task(TASK))
    broker.open()
    celery.send_task(TASK)
    assert waiting_in(broker.url) == 1


def test_a_connection_that_falls_silent_is_given_up(make_app: MakeApp, broker: Gate) -> None:
    celery = celery_of(make_app, broker_url=broker.url)
    broker.open()
    celery.send_task(TASK)
    broker.silent()
    refused(lambda: celery.send_task(TASK))
    broker.open()
    celery.send_task(TASK)
    assert waiting_in(broker.url) == 2


@pytest.mark.parametrize("claims", [True, False])
@pytest.mark.parametrize("trouble", ["the answer is lost", "they are refused"])
def test_many_messages_of_which_nobody_knows(
    make_app: MakeApp, redis_url: str, claims: bool, trouble: str
) -> None:
    with Proxy(redis_url) as way:
        options = {"claims": claims}
        app = make_app(CELERY={"broker_url": way.url, "broker_transport_options": options})
        celeriac = Celeriac(app)

        @celeriac.task
        def double(number: int) -> int:
            return 2 * number

        with app.app_context(), redis.Redis.from_url(redis_url) as server:
            double.delay(0)  # declares the queue
            server.delete("celery")
            if trouble == "they are refused":
                server.set("celery", "no list")
            else:
                way.lose_answers_to("LPUSH")
            with pytest.raises(OperationalError, match="under the same ids"):
                double.delay_many([(1,), (2,)], ids=["a", "b"])
            server.delete("celery")
            assert double.delay_many([(1,), (2,)], ids=["a", "b"]) == 2
            assert waiting_in(redis_url) == 2


def test_all_connections_in_use(make_app: MakeApp, redis_url: str) -> None:
    celery = celery_of(make_app, broker_url=redis_url)
    with ExitStack() as others:
        for _ in range(celery.pool.limit):
            others.enter_context(celery.pool.acquire())
        with pytest.raises(OperationalError, match="broker_pool_limit"):
            celery.send_task(TASK)
    celery.send_task(TASK)


@pytest.mark.parametrize("wrong", ["user", "virtual host"])
def test_a_broker_that_does_not_let_us_in(make_app: MakeApp, rabbitmq_url: str, wrong: str) -> None:
    url = rabbitmq_url + "x" if wrong == "virtual host" else rabbitmq_url.replace("//", "//x", 1)
    celery = celery_of(make_app, broker_url=url)
    refused(lambda: celery.send_task(TASK))


@pytest.mark.parametrize("state", ["shut", "silent"])
def test_nothing_is_sent_whose_result_would_be_lost(
    make_app: MakeApp, broker: Gate, store: Gate, state: str
) -> None:
    broker.open()
    if state == "silent":
        store.silent()
    celery = celery_of(make_app, broker_url=broker.url, result_backend=store.url)
    refused(lambda: celery.send_task(TASK))
    assert TASK.encode() not in broker.received


@pytest.mark.parametrize("state", ["shut", "silent"])
def test_no_chord_is_sent_whose_result_would_be_lost(
    make_app: MakeApp, broker: Gate, store: Gate, state: str
) -> None:
    broker.open()
    if state == "silent":
        store.silent()
    celery = celery_of(make_app, broker_url=broker.url, result_backend=store.url)
    member = celery.signature(TASK)
    refused(chord([member, group([member, member])], member).delay)
    assert TASK.encode() not in broker.received


@pytest.mark.parametrize("state", ["shut", "silent", "full"])
def test_a_result_that_cannot_be_read(make_app: MakeApp, store: Gate, state: str) -> None:
    if state != "shut":
        getattr(store, state)()
    celery = celery_of(make_app, broker_url="memory://", result_backend=store.url)
    result = celery.AsyncResult("x")
    for read in (lambda: result.state, lambda: celery.GroupResult.restore("x")):
        with pytest.raises(OperationalError) as raised:
            read()
        assert isinstance(raised.value, RecordsUnavailableError)
        assert isinstance(raised.value, redis.exceptions.ConnectionError)
        assert store.url in str(raised.value)


def test_an_embedded_file_that_is_locked(make_app: MakeApp, tmp_path: Path) -> None:
    celery = celery_of(make_app, broker_url=None)
    celery.send_task(TASK)
    path = tmp_path / "shop" / "celeriac" / "celeriac.db"
    other = sqlite.connect(str(path))
    other.execute("BEGIN IMMEDIATE")
    refused(lambda: celery.send_task(TASK))
    other.execute("ROLLBACK")
    celery.send_task(TASK)
    assert waiting_in(celery.conf.broker_url) == 2


@pytest.mark.parametrize("name", ["embedded", "redis", "rabbitmq"])
def test_a_worker_has_time(make_app: MakeApp, request: pytest.FixtureRequest, name: str) -> None:
    url = None if name == "embedded" else request.getfixturevalue(f"{name}_url")
    app: Flask = make_app(CELERY={"broker_url": url})
    celeriac = Celeriac(app)

    @celeriac.task
    def look() -> list[Any]:
        connection = app.extensions["celery"].connection_for_write()
        return [connection.connect_timeout, connection.transport_options.get("read_timeout")]

    with app.app_context(), working(app):
        assert look.delay().get(timeout=60) == [4, None]
    celery = app.extensions["celery"]
    assert celery.connection_for_write().connect_timeout < 1
    assert celery.connection_for_read().connect_timeout == 4


SHOP = """
from flask import Flask
from flask_celeriac import Celeriac

app = Flask("shop")
celeriac = Celeriac(app)
celery = app.extensions["celery"]


@celeriac.task
def one():
    return [1, celery.patient]
"""


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_waits_for_its_result_store(
    start: Callable[..., Worker], make_app: MakeApp, redis_url: str, store: Gate, pool: str
) -> None:
    worker = start(
        SHOP, "-P", pool, "-c", "1", "-l", "INFO",
        CELERY_BROKER_URL=redis_url, CELERY_RESULT_BACKEND=store.url,
    )  # fmt: skip
    celery = celery_of(make_app, broker_url=redis_url, result_backend=redis_url)
    result = celery.send_task("shop.one")
    worker.wait_for("Failed operation _store_result")
    assert result.state == "PENDING"
    store.open()
    assert result.get(timeout=60) == [1, True]
