"""Which connections go through claims: those of our applications, under the same URLs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection, pools

from flask_celeriac.amqp import FlaskConnection
from flask_celeriac.contrib.redis_broker.transport import Transport
from tests.broker.messages import Receiver, put
from tests.broker.redis.apps import make_ours, make_stocks

from .conftest import Connect


@pytest.fixture
def ours(redis_url: str) -> Iterator[Celery]:
    app = make_ours(redis_url)
    yield app
    app.close()
    pools.reset()


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("redis://a:1/2", {}, True),
        ("rediss://a?ssl_cert_reqs=none", {}, True),
        ("redis+socket:///a.sock", {}, True),
        ("redis://a;redis://b", {"lease": 3}, True),
        (["redis://a", "redis://b"], {}, True),
        ("redis://a", {"claims": False}, False),
        ("redis://a", {"ack_emulation": False}, False),
        ("sentinel://a", {}, False),
        ("memory://", {}, False),
    ],
)
def test_the_transport_is_chosen_by_url(url: Any, options: dict[str, Any], expected: bool) -> None:
    connection = FlaskConnection(url, transport_options=options)
    for each in (connection, connection.clone()):
        assert (each.get_transport_cls() is Transport) is expected
        kombus = Connection(url, transport_options=options)
        assert each.as_uri() == kombus.as_uri()
        assert each.transport.driver_type == kombus.transport.driver_type
    if connection.alt:
        connection.maybe_switch_next()
        assert connection.get_transport_cls() is Transport


def test_pooled_connections_do_too(ours: Celery) -> None:
    with ours.pool.acquire(block=True) as connection:
        assert isinstance(connection.transport, Transport)
    with ours.amqp.producer_pool.acquire(block=True) as producer:
        assert isinstance(producer.connection.transport, Transport)


def test_a_stock_application_in_the_same_process_keeps_its_own(
    ours: Celery, redis_url: str
) -> None:
    stocks = make_stocks(redis_url)
    pool: Any = pools.connections[FlaskConnection(redis_url)]
    assert pool is not pools.connections[Connection(redis_url)]
    with stocks.pool.acquire(block=True) as connection:
        assert not isinstance(connection.transport, Transport)
    stocks.close()


@pytest.mark.parametrize("way", ["call", "batch"])
def test_sending_wakes_who_waits(
    ours: Celery, connect: Connect, server: redis.Redis, way: str
) -> None:
    receiver = Receiver(connect(), "celery", no_ack=True)
    assert receiver.quiet()
    if way == "call":
        ours.send_task("work")
    else:
        with ours.amqp.producer_pool.acquire(block=True) as producer, producer.batch():
            producer.publish({}, routing_key="celery")
    assert not server.exists("celeriac.idle.celery")
    receiver.drain(1)


@pytest.mark.parametrize("kinds", [(FlaskConnection, Connection), (Connection, FlaskConnection)])
def test_kombu_and_we_read_each_other(
    connect: Connect, server: redis.Redis, kinds: tuple[type[Connection], type[Connection]]
) -> None:
    first, second = kinds
    options = {"visibility_timeout": 0, "unacked_restore_throttle": 1}
    put(connect(kind=first), {"a": 1}, queue="jobs", headers={"big": 2**70, "part": 0.1})
    Receiver(connect(kind=first), "jobs").drain(1)
    # As if its worker had been dead for the visibility timeout.
    for tag in server.hkeys("unacked"):
        server.zadd("unacked_index", {tag: 1})
    other = Receiver(connect(kind=second, **options), "jobs", prefetch=1)
    other.channel.qos.restore_visible(num=None, interval=1)
    [message] = other.drain(1).messages
    assert message.payload == {"a": 1}
    assert message.headers["big"] == 2**70
    assert message.headers["part"] == 0.1
    assert message.delivery_info["redelivered"]
    message.ack()
    assert not server.exists("unacked", "jobs")
