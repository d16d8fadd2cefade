"""Messages go the same ways through our transport as through kombu's own, in one process."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange, Producer, Queue
from kombu.exceptions import ChannelError

import flask_celeriac.broker  # noqa: F401 - registers the transport
from flask_celeriac import sqlite
from flask_celeriac.amqp import FlaskConnection
from tests.broker.messages import Receiver, put, size
from tests.support.pieces import redis_database

Connect = Callable[[], Connection]


@pytest.fixture(scope="module", params=["embedded", "memory", "kombu's redis", "our redis"])
def connection(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connect]:
    """What connects to a broker of each kind, for all tests of this file."""
    if request.param == "memory":
        yield lambda: Connection("memory://")
    elif request.param == "embedded":
        path = str(Path(tmp_path_factory.mktemp("transport")) / "celeriac.db")
        yield lambda: Connection(sqlite.url_of(path))
        sqlite.file_at(path).close()
    else:
        kind = FlaskConnection if request.param == "our redis" else Connection
        with redis_database() as url:
            yield lambda: kind(url)


@pytest.fixture
def connect(connection: Connect) -> Iterator[Connect]:
    with ExitStack() as opened:
        yield lambda: opened.enter_context(connection())


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return uuid.uuid4().hex


def test_messages_come_in_order_and_once(connect: Connect, name: str) -> None:
    put(connect(), 1, 2, 3, queue=name)
    receiver = Receiver(connect(), name, handle=lambda message: message.ack()).drain(3)
    assert receiver.bodies == [1, 2, 3]
    receiver.close()
    assert connect().channel().basic_get(name) is None


@pytest.mark.parametrize("body", [None, "grüße \U0001f600", {"a": [1, {"b": None}]}, "x" * 99999])
def test_bodies_and_headers_come_back(connect: Connect, name: str, body: Any) -> None:
    put(connect(), body, queue=name, headers={"kind": "é"}, correlation_id="7", reply_to="me")
    [message] = Receiver(connect(), name, no_ack=True).drain(1).messages
    assert message.payload == body
    assert message.headers["kind"] == "é"
    assert message.properties["correlation_id"] == "7"
    assert message.properties["reply_to"] == "me"
    assert message.content_encoding == "utf-8"


def test_a_compressed_body_comes_back(connect: Connect, name: str) -> None:
    put(connect(), {"a": "x" * 9999}, queue=name, compression="zlib")
    [message] = Receiver(connect(), name, no_ack=True).drain(1).messages
    assert message.headers["compression"] == "application/x-gzip"
    assert message.payload == {"a": "x" * 9999}


def test_a_message_that_is_requeued_comes_again_and_one_rejected_does_not(
    connect: Connect, name: str
) -> None:
    put(connect(), "requeued", queue=name)
    receiver = Receiver(connect(), name, prefetch=1).drain(1)
    receiver.messages[0].requeue()
    receiver.drain(2).messages[1].reject()
    assert receiver.quiet()
    receiver.close()
    assert connect().channel().basic_get(name) is None


def test_no_more_come_than_were_asked_for(connect: Connect, name: str) -> None:
    put(connect(), 1, 2, 3, queue=name)
    receiver = Receiver(connect(), name, prefetch=2).drain(2)
    assert receiver.quiet()
    receiver.messages[0].ack()
    assert receiver.drain(3).bodies == [1, 2, 3]


def test_exchanges_route_by_key(connect: Connect, name: str) -> None:
    topic = Exchange(f"{name}-topic", type="topic")
    direct = Exchange(f"{name}-direct", type="direct")
    queues = {
        "topic": Queue(f"{name}-1", topic, routing_key="mail.*"),
        "all": Queue(f"{name}-2", topic, routing_key="#"),
        "direct": Queue(f"{name}-3", direct, routing_key="mail"),
    }
    channel = connect().channel()
    producer = Producer(channel)
    for exchange, key in ((topic, "mail.in"), (topic, "print.mail"), (direct, "mail")):
        producer.publish(key, exchange=exchange, routing_key=key, declare=[*queues.values()])
    producer.publish("lost", exchange=direct, routing_key="nobody's")
    got = {kind: Receiver(connect(), queue, no_ack=True) for kind, queue in queues.items()}
    assert got["topic"].drain(1).bodies == ["mail.in"]
    assert sorted(got["all"].drain(2).bodies) == ["mail.in", "print.mail"]
    assert got["direct"].drain(1).bodies == ["mail"]
    assert all(receiver.quiet(0.05) for receiver in got.values())


def test_a_queue_is_counted_emptied_and_deleted(connect: Connect, name: str) -> None:
    put(connect(), 1, 2, queue=name)
    channel = connect().channel()
    assert channel.basic_get(name, no_ack=True).payload == 1
    assert size(connect(), name) == 1
    assert channel.queue_purge(name) == 1
    assert channel.basic_get(name) is None
    channel.queue_delete(name)
    with pytest.raises(ChannelError):
        size(connect(), f"{name} never was")


def test_simple_queues(connect: Connect, name: str) -> None:
    with connect().SimpleQueue(name) as queue:
        queue.put({"page": 1})
        message = queue.get(timeout=10)
        assert message.payload == {"page": 1}
        message.ack()
        with pytest.raises(queue.Empty):
            queue.get(block=False)
