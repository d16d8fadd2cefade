"""What a consumer has is booked, is its own, and goes back to where it was."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from kombu import Connection, Exchange, Producer, Queue

from flask_celeriac.contrib.redis_broker import member
from tests.broker.messages import Receiver, put, size
from tests.support.processes import wait_for

from .conftest import Connect
from .owners import owner, take_over


def test_nothing_is_out_that_is_not_booked(connect: Connect, server: redis.Redis) -> None:
    put(connect(), 1, 2, 3, queue="jobs")
    receiver = Receiver(connect(), "jobs", prefetch=2).drain(2)
    tags = [message.delivery_tag for message in receiver.messages]
    assert server.hgetall("unacked").keys() == {*server.zrange("unacked_index", 0, -1)} == {*tags}
    assert server.hgetall(f"celeriac.claims.{owner(receiver).id}") == dict.fromkeys(tags, "jobs")
    assert server.llen("jobs") == 1
    assert receiver.quiet()


def test_an_ack_leaves_nothing_behind(connect: Connect, server: redis.Redis) -> None:
    put(connect(), *range(20), queue="jobs")
    Receiver(connect(), "jobs", handle=lambda message: message.ack()).drain(20).close()
    assert server.keys() == []


def test_what_needs_no_ack_is_not_booked(connect: Connect, server: redis.Redis) -> None:
    put(connect(), 1, 2, queue="jobs")
    receiver = Receiver(connect(), "jobs", no_ack=True).drain(1)
    assert server.keys() == ["jobs"]
    assert connect().channel().basic_get("jobs", no_ack=True).payload == 2
    receiver.close()
    assert server.keys() == []


def test_a_stale_claim_changes_nothing(connect: Connect, server: redis.Redis) -> None:
    put(connect(), "job", queue="jobs")
    stopped = Receiver(connect(lease=30), "jobs").drain(1)
    assert take_over(server, stopped) == 1
    other = Receiver(connect(lease=31), "jobs").drain(1)
    tag = other.messages[0].delivery_tag
    assert tag != stopped.messages[0].delivery_tag
    stopped.messages[0].ack()
    assert server.hkeys("unacked") == [tag]
    stopped.messages[0]._state = "RECEIVED"
    stopped.messages[0].requeue()
    stopped.close()
    assert server.hkeys("unacked") == [tag]
    assert server.llen("jobs") == 0
    other.messages[0].ack()
    assert not server.exists("unacked")


def test_a_death_is_counted_in_the_message(connect: Connect, server: redis.Redis) -> None:
    put(connect(), "job", queue="jobs", headers={"own": 1})
    put(connect(), "later", queue="jobs", headers={"eta": "2999-01-01T00:00:00"})
    for crashes in (1, 2):
        receiver = Receiver(connect(lease=30 + crashes), "jobs").drain(2)
        assert take_over(server, receiver) == 2
        texts = [json.loads(text) for text in server.lrange("jobs", 0, -1)]
        assert [text["headers"].get("celeriac_crashes") for text in texts] == [None, crashes]
        assert all(text["headers"]["redelivered"] for text in texts)
        receiver.close()
    [first, _] = Receiver(connect(), "jobs").drain(2).messages
    assert first.payload == "job"
    assert first.headers["own"] == 1
    assert first.delivery_info["redelivered"]


def test_one_that_lives_loses_nothing(connect: Connect, server: redis.Redis) -> None:
    put(connect(), "job", queue="jobs")
    receiver = Receiver(connect(), "jobs").drain(1)
    me = owner(receiver)
    assert member.recover(me._server, me.keys, me.id) == -1
    assert server.hkeys("unacked") == [receiver.messages[0].delivery_tag]


def test_all_of_many_come_back_in_their_order(connect: Connect, server: redis.Redis) -> None:
    put(connect(), *range(700), queue="jobs")
    receiver = Receiver(connect(lease=30), "jobs", prefetch=600).drain(600, seconds=60)
    assert take_over(server, receiver) == 600
    receiver.close()
    bodies = Receiver(connect(), "jobs", no_ack=True).drain(700, seconds=60).bodies
    assert bodies == list(range(700))
    assert server.keys() == []


def test_what_goes_back_keeps_its_place(connect: Connect, server: redis.Redis) -> None:
    put(connect(), 1, 2, 3, queue="jobs")
    receiver = Receiver(connect(), "jobs", prefetch=1).drain(1)
    receiver.messages[0].requeue()
    assert receiver.drain(2).bodies == [1, 1]
    receiver.close()
    Receiver(connect(), "jobs", prefetch=2).drain(2).close()
    assert server.keys() == ["jobs"]
    again = Receiver(connect(), "jobs", no_ack=True).drain(3)
    assert again.bodies == [1, 2, 3]
    flags = [message.delivery_info.get("redelivered", False) for message in again.messages]
    assert flags == [True, True, False]


def test_a_message_goes_back_to_the_queue_it_was_in(connect: Connect) -> None:
    exchange = Exchange("topics", type="topic")
    queues = [Queue(name, exchange, routing_key="#") for name in ("one", "two")]
    Producer(connect().channel()).publish("x", exchange=exchange, routing_key="a", declare=queues)
    receiver = Receiver(connect(), "one").drain(1)
    receiver.messages[0].requeue()
    receiver.close()
    assert [size(connect(), name) for name in ("one", "two")] == [1, 1]


@pytest.mark.parametrize("kind", [Connection, None])
def test_priorities_are_those_of_kombu(connect: Connect, kind: type[Connection] | None) -> None:
    for priority in (9, 0, 5, 3):
        put(connect(), priority, queue="jobs", priority=priority)
    options = {"kind": kind} if kind else {}
    receiver = Receiver(connect(**options), "jobs", prefetch=4).drain(4)
    assert receiver.bodies == [0, 5, 3, 9]
    receiver.close()


def test_queues_take_turns(connect: Connect) -> None:
    put(connect(), *"aaa", queue="first")
    put(connect(), *"bbb", queue="second")
    bodies = Receiver(connect(), "first", "second", no_ack=True).drain(6).bodies
    assert bodies in (list("ababab"), list("bababa"))


def test_keys_may_have_a_prefix(connect: Connect, server: redis.Redis) -> None:
    put(connect(global_keyprefix="shop."), 1, 2, queue="jobs")
    receiver = Receiver(connect(global_keyprefix="shop.", lease=30), "jobs", prefetch=1).drain(1)
    assert all(key.startswith("shop.") for key in server.scan_iter())
    assert take_over(server, receiver) == 1
    receiver.close()
    with connect(global_keyprefix="shop.").Producer() as producer, producer.batch():
        producer.publish(3, routing_key="jobs")
    receiver = Receiver(connect(global_keyprefix="shop."), "jobs", no_ack=True).drain(3)
    assert receiver.bodies == [1, 2, 3]
    receiver.close()
    assert server.keys() == []


def test_what_is_no_message_is_put_aside(
    connect: Connect, server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    put(connect(), "before", queue="jobs")
    for text in ("not JSON", "[]", '{"properties": {"delivery_tag": 1}, "body": "x"}', ""):
        server.lpush("jobs", text)
    put(connect(), "after", queue="jobs")
    with caplog.at_level(logging.CRITICAL):
        receiver = Receiver(connect(), "jobs", handle=lambda message: message.ack()).drain(3)
    assert "celeriac.unreadable.jobs" in caplog.text
    assert len(server.lrange("celeriac.unreadable.jobs", 0, -1)) >= 3
    assert receiver.bodies[0] == "before"
    assert receiver.bodies[-1] == "after"
    receiver.close()
    assert server.keys() == ["celeriac.unreadable.jobs"]


def test_a_callback_that_raises_keeps_nothing_from_others(
    connect: Connect, server: redis.Redis
) -> None:
    def fail(message: Any) -> None:
        raise LookupError

    put(connect(), 1, 2, queue="jobs")
    receiver = Receiver(connect(), "jobs", handle=fail)
    with pytest.raises(LookupError):
        receiver.drain(1)
    receiver.close()
    assert Receiver(connect(), "jobs", no_ack=True).drain(2).bodies == [1, 2]
    assert not server.exists("unacked")


def test_a_consumer_is_woken(connect: Connect, server: redis.Redis) -> None:
    receiver = Receiver(connect(), "jobs", no_ack=True)
    assert receiver.quiet()
    assert server.smembers("celeriac.idle.jobs") == {receiver.channel.bell}
    put(connect(), 1, queue="jobs")
    assert not server.exists("celeriac.idle.jobs")
    assert receiver.drain(1).bodies == [1]
    assert receiver.quiet()
    with connect().Producer() as producer, producer.batch():
        producer.publish(2, routing_key="jobs")
    assert not server.exists("celeriac.idle.jobs")
    assert receiver.drain(2).bodies == [1, 2]


def test_who_died_waiting_wakes_nobody_in_vain(connect: Connect, server: redis.Redis) -> None:
    receiver = Receiver(connect(), "jobs", no_ack=True)
    assert receiver.quiet()
    server.sadd("celeriac.idle.jobs", "dead", "gone")
    put(connect(), 1, queue="jobs")
    assert receiver.drain(1).bodies == [1]


def test_a_process_that_leaves_is_forgotten(connect: Connect, server: redis.Redis) -> None:
    one, two = Receiver(connect(), "jobs"), Receiver(connect(), "jobs")
    assert server.zrange("celeriac.workers", 0, -1) == [owner(one).id]
    one.close()
    assert server.zcard("celeriac.workers") == 1
    two.close()
    assert server.keys() == []


def test_bookings_of_the_living_stay_young(connect: Connect, server: redis.Redis) -> None:
    put(connect(), 1, queue="jobs")
    receiver = Receiver(connect(lease=2, visibility_timeout=2), "jobs").drain(1)
    tag = receiver.messages[0].delivery_tag
    before = server.zscore("unacked_index", tag)
    assert before is not None
    wait_for(lambda: (server.zscore("unacked_index", tag) or 0) > before + 0.5, "a renewal")


def test_claims_are_possible_after_the_server_forgot_all(
    connect: Connect, server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    put(connect(), 1, queue="jobs")
    receiver = Receiver(connect(), "jobs").drain(1)
    server.flushdb()
    put(connect(), 2, queue="jobs")
    receiver.drain(2)
    assert receiver.bodies == [1, 2]
    assert server.hkeys("unacked") == [receiver.messages[1].delivery_tag]
    assert "were given to others" in caplog.text


class Watched(dict[str, None]):
    """What a process has; calls somebody before something goes."""

    def __init__(self, held: dict[str, None], look: Callable[[str], None]) -> None:
        super().__init__(held)
        self._look = look

    def pop(self, tag: str, *default: Any) -> Any:
        self._look(tag)
        return super().pop(tag, *default)


def test_what_is_settled_is_known_all_the_time(connect: Connect) -> None:
    put(connect(), 1, 2, queue="jobs")
    receiver = Receiver(connect(), "jobs", prefetch=2).drain(2)
    me = owner(receiver)
    seen: list[bool] = []
    me.held = Watched(me.held, lambda tag: seen.append(tag in me.acked or tag in me.released))
    receiver.messages[0].ack()
    receiver.messages[1].requeue()
    assert seen == [True, True]
    assert not me.held


def test_what_has_ended_does_not_go_back(connect: Connect, server: redis.Redis) -> None:
    put(connect(), 1, 2, queue="jobs")
    connection = connect()
    receiver = Receiver(connection, "jobs", prefetch=2).drain(2)
    me, tags = owner(receiver), [message.delivery_tag for message in receiver.messages]
    me.settle(tags[0], release=True)  # it did not seem to run, and then it had ended
    me.settle(tags[0])
    assert not me.released
    # Another thread is about to say that the second one has ended.
    me.acked[tags[1]] = None
    me.abandon(f"{me.id}:")
    assert not me.released
    connection.collect()
    wait_for(lambda: server.keys() == [], "both are acknowledged")


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="no clock that goes on in suspend")
def test_a_suspend_is_noticed_before_anything_else(
    connect: Connect, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(connect(), 1, queue="jobs")
    receiver = Receiver(connect(lease=1000), "jobs", prefetch=1).drain(1)
    assert take_over(server, receiver) == 1
    clock = time.clock_gettime

    def after_suspend(which: int) -> float:
        return clock(which) + (2000 if which == time.CLOCK_BOOTTIME else 0)

    monkeypatch.setattr(time, "clock_gettime", after_suspend)
    # There is no room, so that it does not ask for another message, and learn of it by that.
    with pytest.raises(redis.ConnectionError, match="longer than its lease"):
        receiver.quiet()


@pytest.mark.parametrize("lease", [0, -1, "20", None])
def test_a_lease_is_a_number_of_seconds(connect: Connect, lease: Any) -> None:
    with pytest.raises(ValueError, match=r"broker_transport_options\['lease'\]"):
        connect(lease=lease).connect()


def test_a_key_of_another_program_costs_nothing_of_other_queues(
    connect: Connect, server: redis.Redis
) -> None:
    receiver = Receiver(connect(), "jobs", "mail", prefetch=10)
    server.set("mail", "not a list")
    put(connect(), 1, 2, 3, queue="jobs")
    assert sorted(receiver.drain(3).bodies) == [1, 2, 3]
    assert server.hlen("unacked") == 3
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        receiver.quiet()
    server.delete("mail")
    put(connect(), 4, queue="mail")
    assert receiver.drain(4).bodies[3:] == [4]


def test_what_cannot_be_put_back_stays_booked(
    connect: Connect, server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    put(connect(), 1, 2, queue="jobs")
    put(connect(), 3, queue="mail")
    stopped = Receiver(connect(), "jobs", "mail", prefetch=10).drain(3)
    server.set("jobs", "not a list")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        take_over(server, stopped)
    assert server.lrange("mail", 0, -1)
    assert server.hlen("unacked") == 2
    server.delete("jobs")
    assert take_over(server, stopped) == 2
    assert server.llen("jobs") == 2
