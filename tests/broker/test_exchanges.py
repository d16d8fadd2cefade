"""Exchanges and bindings, which live in the file for every process to see."""

from __future__ import annotations

import pytest
from kombu import Exchange, Producer, Queue

from tests.broker import processes
from tests.broker.conftest import Connect
from tests.broker.messages import Receiver, put, size
from tests.system.other import Other


def test_direct_exchange(connect: Connect) -> None:
    exchange = Exchange("work", type="direct")
    fast = Receiver(connect(), Queue("fast", exchange, routing_key="fast"))
    slow = Receiver(connect(), Queue("slow", exchange, routing_key="slow"))
    producer = Producer(connect().channel(), exchange)
    for key in ("fast", "slow", "fast", "nowhere"):
        producer.publish(key, routing_key=key)
    assert fast.drain(2).bodies == ["fast", "fast"]
    assert slow.drain(1).bodies == ["slow"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.created", ["order.created", "user.created"]),
        ("order.#", ["order.created", "order.item.added"]),
        ("#", ["order.created", "user.created", "order.item.added"]),
    ],
)
def test_topic_exchange(connect: Connect, pattern: str, expected: list[str]) -> None:
    exchange = Exchange("events", type="topic")
    receiver = Receiver(connect(), Queue("some", exchange, routing_key=pattern))
    producer = Producer(connect().channel(), exchange)
    for key in ("order.created", "user.created", "order.item.added"):
        producer.publish(key, routing_key=key)
    assert receiver.drain(len(expected)).bodies == expected
    assert receiver.quiet()


def test_a_topic_exchange_is_one_where_only_others_declared_it(connect: Connect) -> None:
    receiver = Receiver(connect(), Queue("some", Exchange("events", type="topic"), "*.created"))
    producer = Producer(connect().channel(), auto_declare=False)
    for key in ("order.created", "order.item.added", "user.created"):
        producer.publish(key, exchange="events", routing_key=key)
    assert receiver.drain(2).bodies == ["order.created", "user.created"]
    assert receiver.quiet()


def test_a_producer_of_another_process_reaches_a_bound_queue(url: str, connect: Connect) -> None:
    exchange = Exchange("news", type="fanout")
    producer = Producer(connect().channel(), exchange)
    with (
        Other(processes.listen_to_fanout, url, "news", "one", 3) as one,
        Other(processes.listen_to_fanout, url, "news", "two", 3) as two,
    ):
        assert one.receive() == two.receive() == "bound"
        for number in range(3):
            producer.publish(number)
        assert one.receive() == two.receive() == [0, 1, 2]
        assert one.join() == two.join() == 0


def test_a_fanout_to_nobody_is_no_error(connect: Connect) -> None:
    Producer(connect().channel(), Exchange("news", type="fanout")).publish("unheard")


def test_a_fanout_keeps_each_queues_order_and_priority(connect: Connect) -> None:
    exchange = Exchange("news", type="fanout")
    receiver = Receiver(connect(), Queue("one", exchange))
    producer = Producer(connect().channel(), exchange)
    for priority in (0, 9, 5):
        producer.publish(priority, priority=priority)
    assert receiver.drain(3).bodies == [9, 5, 0]


def test_an_unbound_queue_gets_nothing_more(connect: Connect) -> None:
    exchange = Exchange("work")
    connection = connect()
    queue = Queue("some", exchange, routing_key="key")(connection.channel())
    queue.declare()
    producer = Producer(connect().channel(), exchange)
    producer.publish(1, routing_key="key")
    queue.unbind_from(exchange, "key")
    producer.publish(2, routing_key="key")
    assert size(connect(), "some") == 1


def test_a_binding_deleted_by_another_connection_can_be_made_again(connect: Connect) -> None:
    exchange = Exchange("work")
    queue = Queue("some", exchange, routing_key="key")
    channel = connect().channel()
    queue(channel).declare()
    connect().channel().queue_delete("some")
    queue(channel).declare()
    Producer(connect().channel(), exchange).publish("found", routing_key="key")
    assert Receiver(connect(), "some").drain(1).bodies == ["found"]


def test_several_queues_of_one_binding_get_a_copy_each(connect: Connect) -> None:
    exchange = Exchange("work")
    one = Receiver(connect(), Queue("one", exchange, routing_key="key"))
    two = Receiver(connect(), Queue("two", exchange, routing_key="key"))
    Producer(connect().channel(), exchange).publish("copy", routing_key="key")
    assert one.drain(1).bodies == two.drain(1).bodies == ["copy"]


def test_the_default_exchange_is_the_queues_name(connect: Connect) -> None:
    put(connect(), "direct", queue="by name")
    assert Receiver(connect(), "by name").drain(1).bodies == ["direct"]
