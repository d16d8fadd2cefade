"""What waits for its time can be looked at, and may come too late."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

from kombu import Connection, Queue

from tests.broker.conftest import Connect
from tests.broker.messages import Receiver, put, size


def put_later(connection: Connection, body: str, hours: int, queue: str = "jobs") -> None:
    eta = datetime.now(timezone.utc) + timedelta(hours=hours)
    headers = {"id": f"{body}-id", "task": "print", "eta": eta.isoformat()}
    put(connection, body, queue=queue, headers=headers)


def test_what_waits_is_listed_as_it_is_due(connect: Connect) -> None:
    for body, hours in (("third", 3), ("first", 1), ("second", 2)):
        put_later(connect(), body, hours)
    put_later(connect(), "elsewhere", 1, queue="other")
    put(connect(), "ready")
    channel = Receiver(connect(), "jobs", prefetch=1).drain(1).channel
    assert [m.payload for m in channel.waiting_messages(9)] == ["first", "second", "third"]
    assert [m.payload for m in channel.waiting_messages(2)] == ["first", "second"]
    chosen = channel.waiting_messages(9, ["third-id", "elsewhere-id", "nobody's"])
    assert [m.payload for m in chosen] == ["third"]
    assert channel.waiting_messages(9, []) == []


def test_looking_at_what_waits_claims_nothing(connect: Connect) -> None:
    channel = Receiver(connect(), "jobs").channel
    soon = datetime.now(timezone.utc) + timedelta(seconds=0.3)
    put(connect(), "due", headers={"id": "1", "task": "print", "eta": soon.isoformat()})
    [message] = channel.waiting_messages(9)
    assert not message.delivery_info.get("redelivered")
    channel.close()
    [message] = Receiver(connect(), "jobs").drain(1).messages
    assert not message.delivery_info.get("redelivered")
    assert size(connect()) == 0


def test_a_message_is_not_delivered_after_its_expiration(connect: Connect) -> None:
    put(connect(), "stale", expiration=0.05)
    put(connect(), "in time", expiration=60)
    time.sleep(0.1)
    assert Receiver(connect(), "jobs").drain(1).bodies == ["in time"]


def test_the_shorter_of_a_messages_and_its_queues_time_limit_counts(connect: Connect) -> None:
    put(
        connect(), "stale", queue="short", declare=[Queue("short", message_ttl=0.05)], expiration=60
    )
    put(connect(), "stale", queue="long", declare=[Queue("long", message_ttl=60)], expiration=0.05)
    time.sleep(0.1)
    channel = connect().channel()
    assert channel.basic_get("short") is None
    assert channel.basic_get("long") is None


def test_a_message_may_expire_while_it_waits(connect: Connect) -> None:
    soon = datetime.now(timezone.utc) + timedelta(seconds=0.2)
    headers = {"id": "1", "task": "print", "eta": soon.isoformat()}
    put(connect(), "stale", headers=headers, expiration=0.1)
    put(connect(), "in time", headers=headers, expiration=60)
    assert Receiver(connect(), "jobs").drain(1).bodies == ["in time"]
