"""The queue as kombu's public API shows it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from kombu import Connection, Message, Producer, Queue
from kombu.exceptions import ChannelError

from flask_celeriac import database, sqlite, states
from flask_celeriac.broker import transport
from flask_celeriac.errors import StorageError
from flask_celeriac.records import write_queries
from tests.broker import processes
from tests.broker.conftest import Connect
from tests.broker.messages import Receiver, put, size
from tests.system.killing import look_into
from tests.system.other import Other
from tests.system.workers import wait_for


def test_messages_come_in_the_order_they_were_put(connection: Connection) -> None:
    put(connection, *range(200))
    assert Receiver(connection, "jobs").drain(200).bodies == list(range(200))


def test_an_acknowledged_message_is_gone_for_every_connection(connect: Connect) -> None:
    put(connect(), "once")
    receiver = Receiver(connect(), "jobs").drain(1)
    receiver.messages[0].ack()
    receiver.close()
    assert Receiver(connect(), "jobs").quiet()
    assert size(connect()) == 0


def test_a_claimed_message_is_seen_by_nobody_else(connect: Connect) -> None:
    put(connect(), "mine")
    Receiver(connect(), "jobs").drain(1)
    assert Receiver(connect(), "jobs").quiet()


def test_a_requeued_message_keeps_its_place(connect: Connect) -> None:
    put(connect(), "first", "second", "third")
    receiver = Receiver(connect(), "jobs", prefetch=1).drain(1)
    receiver.messages[0].requeue()
    receiver.close()
    again = Receiver(connect(), "jobs").drain(3)
    assert again.bodies == ["first", "second", "third"]
    assert [m.delivery_info.get("redelivered", False) for m in again.messages] == [
        True,
        False,
        False,
    ]


def test_closing_a_channel_gives_back_what_it_held_in_place(connect: Connect) -> None:
    put(connect(), *range(5))
    receiver = Receiver(connect(), "jobs", prefetch=3).drain(3)
    receiver.messages[1].ack()
    receiver.close()
    assert Receiver(connect(), "jobs").drain(4).bodies == [0, 2, 3, 4]


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_closing_while_the_disk_fails_keeps_nothing_back(
    connect: Connect, path: str, failing: int
) -> None:
    """Neither from this process, which lives on, nor from others."""
    put(connect(), *range(3))
    channel = Receiver(connect(), "jobs", prefetch=2).drain(2).channel
    fails = iter([True] * failing)
    with sqlite.file_at(path).connection() as db:
        db.set_commit_hook(lambda: next(fails, False))
    with contextlib.suppress(StorageError):
        channel.close()
    assert sorted(Receiver(connect(), "jobs").drain(3).bodies) == [0, 1, 2]


def test_a_rejected_message_is_gone(connect: Connect) -> None:
    put(connect(), "bad")
    receiver = Receiver(connect(), "jobs").drain(1)
    receiver.messages[0].reject()
    receiver.close()
    assert Receiver(connect(), "jobs").quiet()


def test_nine_is_the_most_urgent_priority(connection: Connection) -> None:
    for priority in (0, 9, 5, 1, 9, 0):
        put(connection, priority, priority=priority)
    assert Receiver(connection, "jobs").drain(6).bodies == [9, 9, 5, 1, 0, 0]


def test_a_prefetch_count_is_respected(connection: Connection) -> None:
    put(connection, *range(10))
    receiver = Receiver(connection, "jobs", prefetch=3).drain(3)
    assert receiver.quiet()
    receiver.messages[0].ack()
    receiver.messages[2].ack()
    receiver.drain(5)
    assert receiver.quiet()
    assert receiver.bodies == [0, 1, 2, 3, 4]


def test_several_queues_are_served_in_turn(connection: Connection) -> None:
    put(connection, *["a"] * 20, queue="one")
    put(connection, *["b"] * 20, queue="two")

    def ack(message: Message) -> None:
        message.ack()

    receiver = Receiver(connection, "one", "two", prefetch=2, handle=ack).drain(20)
    assert {"a", "b"} == set(receiver.bodies[:10])
    receiver.drain(40)


def test_a_queue_nobody_asked_for_is_left_alone(connection: Connection) -> None:
    put(connection, "theirs", queue="other")
    assert Receiver(connection, "jobs").quiet()


def test_no_ack_consumers_have_the_message_deleted_on_delivery(connect: Connect) -> None:
    put(connect(), *range(100))
    receiver = Receiver(connect(), "jobs", no_ack=True).drain(100)
    assert receiver.bodies == list(range(100))
    receiver.close()
    assert Receiver(connect(), "jobs").quiet()


def test_a_no_ack_and_an_ordinary_consumer_of_one_channel(connection: Connection) -> None:
    receiver = Receiver(connection, "jobs", prefetch=1)
    receiver.consumer.no_ack = True
    receiver.consumer.add_queue(Queue("news"))
    receiver.consumer.consume()
    put(connection, "job 1", "job 2", queue="jobs")
    put(connection, *range(3), queue="news")
    assert receiver.drain(4).bodies.count("job 1") == 1
    assert "job 2" not in receiver.bodies


@pytest.mark.parametrize(
    "body",
    ["plain", "grüße \U0001f600 \x00 end", {"a": [1, 2.5, None, True]}, [], "x" * 1_000_000],
    ids=["text", "unicode", "json", "list", "large"],
)
def test_bodies_come_back_as_they_were(connection: Connection, body: Any) -> None:
    put(connection, body)
    assert Receiver(connection, "jobs").drain(1).bodies == [body]


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_binary_bodies_come_back_as_they_were(
    connection: Connection, compression: str | None
) -> None:
    body = bytes(range(256)) * 10
    put(
        connection,
        body,
        content_type="application/x-raw",
        content_encoding="binary",
        compression=compression,
    )
    message = Receiver(connection, "jobs").drain(1).messages[0]
    assert bytes(message.decode()) == body


def test_headers_come_back_as_they_were(connection: Connection) -> None:
    headers = {
        "when": datetime(2026, 3, 29, 2, 30, tzinfo=timezone.utc),
        "text": 'grüße "__type__"',
        "nested": {"a": [1, {"b": None}]},
    }
    put(connection, 1, headers=headers)
    assert Receiver(connection, "jobs").drain(1).messages[0].headers == headers


def test_a_message_with_an_eta_stays_in_the_file_until_its_time(connect: Connect) -> None:
    eta = datetime.now(timezone.utc) + timedelta(seconds=0.7)
    put(connect(), "later", headers={"eta": eta.isoformat()})
    put(connect(), "now")
    receiver = Receiver(connect(), "jobs").drain(1)
    assert receiver.bodies == ["now"]
    receiver.drain(2)
    assert datetime.now(timezone.utc) >= eta


def test_waiting_messages_take_up_no_prefetch(connection: Connection) -> None:
    eta = datetime.now(timezone.utc) + timedelta(hours=1)
    put(connection, *range(20), headers={"eta": eta.isoformat()})
    put(connection, "now")
    assert Receiver(connection, "jobs", prefetch=1).drain(1).bodies == ["now"]


@pytest.mark.parametrize("eta", ["2020-01-01T00:00:00", "2020-01-01T00:00:00+05:30", None])
def test_an_eta_in_the_past_is_now(connection: Connection, eta: str | None) -> None:
    put(connection, "now", headers={"eta": eta})
    assert Receiver(connection, "jobs").drain(1).bodies == ["now"]


def test_basic_get(connect: Connect) -> None:
    put(connect(), "a", "b")
    channel = connect().channel()
    first = channel.basic_get("jobs")
    second = channel.basic_get("jobs", no_ack=True)
    assert first.payload == "a"
    assert second.payload == "b"
    assert channel.basic_get("jobs") is None
    first.requeue()
    assert channel.basic_get("jobs", no_ack=True).payload == "a"
    channel.close()
    assert size(connect()) == 0


def test_sizes_count_what_is_ready(connection: Connection) -> None:
    put(connection, *range(5))
    assert size(connection) == 5
    receiver = Receiver(connection, "jobs", prefetch=2).drain(2)
    assert size(connection) == 3
    receiver.close()
    assert size(connection) == 5


def test_a_purge_leaves_claimed_messages_to_their_owner(connect: Connect) -> None:
    put(connect(), *range(5))
    receiver = Receiver(connect(), "jobs", prefetch=2).drain(2)
    assert connect().channel().queue_purge("jobs") == 3
    receiver.close()
    assert Receiver(connect(), "jobs").drain(2).bodies == [0, 1]


def test_passive_declare_of_a_missing_queue(connection: Connection) -> None:
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        size(connection, "nowhere")


def test_passive_declare_leaves_the_queue_as_it_is(connect: Connect) -> None:
    queue = Queue("short", message_ttl=0.1, expires=100.0, auto_delete=True)
    queue(connect().channel()).declare()
    assert size(connect(), "short") == 0
    put(connect(), "stale", queue="short", declare=[])
    time.sleep(0.15)
    assert connect().channel().basic_get("short") is None


def test_a_deleted_queue_is_gone_with_its_messages(connect: Connect) -> None:
    put(connect(), 1, 2)
    connect().channel().queue_delete("jobs")
    with pytest.raises(ChannelError):
        size(connect())
    put(connect(), 3)
    assert Receiver(connect(), "jobs").drain(1).bodies == [3]


def test_deleting_a_queue_only_if_it_is_empty_or_unused(connect: Connect) -> None:
    channel = connect().channel()
    put(connect(), 1)
    channel.queue_delete("jobs", if_empty=True)
    assert size(connect()) == 1
    receiver = Receiver(connect(), "jobs").drain(1)
    receiver.messages[0].ack()
    channel.queue_delete("jobs", if_unused=True)
    assert size(connect()) == 0
    receiver.close()
    channel.queue_delete("jobs", if_unused=True, if_empty=True)
    with pytest.raises(ChannelError):
        size(connect())


def test_a_message_past_its_queues_time_limit_is_never_delivered(connect: Connect) -> None:
    queue = Queue("short", message_ttl=0.1)
    queue(connect().channel()).declare()
    producer = Producer(connect().channel())
    producer.publish("stale", routing_key="short")
    time.sleep(0.15)
    producer.publish("fresh", routing_key="short")
    assert Receiver(connect(), queue).drain(1).bodies == ["fresh"]


def test_another_connection_knows_a_queues_time_limit(connect: Connect) -> None:
    Queue("short", message_ttl=0.1)(connect().channel()).declare()
    put(connect(), "stale", queue="short", declare=[])
    time.sleep(0.15)
    assert connect().channel().basic_get("short") is None


def test_an_unused_queue_expires(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "FALLBACK", 0.05)
    Queue("idle", expires=0.3)(connect().channel()).declare()
    Queue("kept")(connect().channel()).declare()
    sweeper = Receiver(connect(), "kept")

    def gone() -> bool:
        sweeper.quiet(0.1)
        try:
            size(connect(), "idle")
        except ChannelError:
            return True
        return False

    wait_for(gone, "expired")
    assert size(connect(), "kept") == 0


def test_a_consumed_queue_does_not_expire(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "FALLBACK", 0.05)
    receiver = Receiver(connect(), Queue("used", expires=0.2))
    assert receiver.quiet(1.0)
    assert size(connect(), "used") == 0


def test_an_auto_delete_queue_goes_with_its_last_consumer(connect: Connect) -> None:
    queue = Queue("temporary", auto_delete=True)
    first, second = Receiver(connect(), queue), Receiver(connect(), queue)
    first.close()
    channel = connect().channel()
    assert channel.queue_declare("temporary", passive=True).message_count == 0
    second.close()
    with pytest.raises(ChannelError):
        channel.queue_declare("temporary", passive=True)


def test_an_auto_delete_queue_can_be_used_again_by_the_same_connection(
    connect: Connect,
) -> None:
    from kombu import Exchange

    exchange = Exchange("answers")
    queue = Queue("mine", exchange, routing_key="mine", auto_delete=True)
    connection = connect()
    for number in range(3):
        receiver = Receiver(connection, queue)
        Producer(connect().channel(), exchange).publish(number, routing_key="mine")
        assert receiver.drain(1).bodies == [number]
        receiver.messages[0].ack()
        receiver.close()


def test_an_auto_delete_queue_goes_when_its_consumers_process_dies(
    url: str, connect: Connect
) -> None:
    channel = connect().channel()
    with Other(processes.consume_auto_delete, url, "temporary") as other:
        assert other.receive() == "consuming"
        assert channel.queue_declare("temporary", passive=True).queue == "temporary"
        other.kill()
    watcher = Receiver(connect(), "jobs")

    def gone() -> bool:
        watcher.quiet(0.1)
        try:
            channel.queue_declare("temporary", passive=True)
        except ChannelError:
            return True
        return False

    wait_for(gone, "deleted")


def test_a_killed_processs_messages_come_back_in_their_place(url: str, connect: Connect) -> None:
    put(connect(), *range(5))
    with Other(processes.claim_and_wait, url, "jobs", 3) as other:
        assert other.receive() == [0, 1, 2]
        other.kill()
        assert Receiver(connect(), "jobs").drain(5, 5.0).bodies == [0, 1, 2, 3, 4]


def test_a_stopped_process_keeps_its_messages_until_its_lease_is_over(
    url: str, path: str, connect: Connect
) -> None:
    """And what it acknowledges and gives back afterwards does nothing."""
    put(connect(), "a", "b")
    with Other(processes.claim_and_wait, url, "jobs", 2) as other:
        assert other.receive() == ["a", "b"]
        other.signal(signal.SIGSTOP)
        receiver = Receiver(connect(), "jobs")
        assert receiver.quiet(1.5)
        end_leases(path)
        receiver.drain(2, 5.0)
        other.signal(signal.SIGCONT)
        other.send("ack")
        assert other.receive() == "done"
        assert other.join() == 0
    receiver.messages[0].ack()
    receiver.close()
    assert Receiver(connect(), "jobs").drain(1).bodies == ["b"]


def end_leases(path: str) -> None:
    """As if every process had been stopped for a minute."""
    from flask_celeriac import sqlite

    with sqlite.file_at(path).transaction() as db:
        db.execute("UPDATE process SET lease = 0 WHERE pid != ?", (os.getpid(),))


def test_a_claim_taken_away_can_neither_ack_nor_requeue(connect: Connect, path: str) -> None:
    from flask_celeriac import sqlite

    put(connect(), "a", "b")
    late = Receiver(connect(), "jobs").drain(2)
    with sqlite.file_at(path).transaction() as db:
        db.execute("UPDATE message SET claim = NULL")
    valid = Receiver(connect(), "jobs").drain(2)
    late.messages[0].ack()
    late.messages[1].requeue()
    late.close()
    assert Receiver(connect(), "jobs").quiet()
    valid.close()
    assert Receiver(connect(), "jobs").drain(2).bodies == ["a", "b"]


def test_a_callback_that_raises_gives_back_what_it_did_not_see(connect: Connect) -> None:
    put(connect(), *range(4))

    def fail(message: Message) -> None:
        raise ValueError(message.payload)

    receiver = Receiver(connect(), "jobs", handle=fail)
    with pytest.raises(ValueError, match="0"):
        receiver.drain(1)
    assert Receiver(connect(), "jobs").drain(3).bodies == [1, 2, 3]


def test_a_process_killed_inside_a_transaction_changes_nothing(
    url: str, path: str, connect: Connect
) -> None:
    put(connect(), *range(3))
    with Other(processes.die_inside_transaction, url, path) as other:
        assert other.receive() == "inside"
        assert other.join() == -signal.SIGKILL
    assert Receiver(connect(), "jobs").drain(3).bodies == [0, 1, 2]


def test_many_processes_put_and_consume_at_once(url: str, path: str, connect: Connect) -> None:
    producers = [Other(processes.put_many, url, "jobs", n * 1000, 200) for n in range(4)]
    consumers = [Other(processes.consume_all, url, "jobs") for _ in range(2)]
    for other in producers:
        with other:
            assert other.receive() == "done"
    seen: list[int] = []
    for other in consumers:
        with other:
            other.send("end")
            seen += other.receive()
            assert other.join() == 0
    assert sorted(seen) == sorted(n * 1000 + i for n in range(4) for i in range(200))
    assert look_into(path)["integrity"] == "ok"


def test_a_consumer_that_leaves_gives_no_task_back_that_has_succeeded(
    connect: Connect, path: str
) -> None:
    """Its process had stored that, and the worker was stopped before it heard of it."""
    for task_id in ("succeeded", "failed", "unknown"):
        put(connect(), task_id, headers={"id": task_id, "task": "shop.add"})
    receiver = Receiver(connect(), "jobs").drain(3)
    with database.engine_for(sqlite.url_of(path)).begin() as db:
        for state in (states.SUCCEEDED, states.FAILED):
            write_queries.write(db, {"task_id": state, "state": state, "updated": 1.0})
    receiver.close()
    assert Receiver(connect(), "jobs").drain(2).bodies == ["failed", "unknown"]
