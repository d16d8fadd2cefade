"""The server has done it and the answer gets lost: nothing is lost with it, or done twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from kombu import Connection

from flask_celeriac.contrib.redis_broker.scripts import Scripts
from tests.broker.messages import Receiver, put
from tests.support.processes import wait_for

from .conftest import Connect
from .owners import owner, take_over
from .proxy import Proxy


@pytest.fixture
def way(redis_url: str) -> Iterator[Proxy]:
    with Proxy(redis_url) as found:
        yield found


@pytest.fixture
def scripts(server: redis.Redis) -> Scripts:
    return Scripts(server)


def lose_a_claim(way: Proxy, scripts: Scripts, receiver: Receiver) -> None:
    way.lose_answers_to(scripts.claim.sha)
    with pytest.raises(redis.ConnectionError):
        receiver.drain(1)
    assert way.lost == 1


def test_a_claim_is_found_when_it_is_made_again(
    way: Proxy, connect: Connect, server: redis.Redis, scripts: Scripts
) -> None:
    put(connect(), 1, 2, 3, queue="jobs")
    receiver = Receiver(connect(way.url), "jobs", prefetch=2, handle=lambda message: message.ack())
    lose_a_claim(way, scripts, receiver)
    assert server.hlen("unacked") == 1
    assert receiver.drain(3).bodies == [1, 2, 3]
    receiver.close()
    assert server.keys() == []


@pytest.mark.parametrize("end", ["close", "collect"])
def test_a_claim_is_given_back_by_a_connection_that_ends(
    way: Proxy, connect: Connect, server: redis.Redis, scripts: Scripts, end: str
) -> None:
    put(connect(), 1, 2, queue="jobs")
    connection = connect(way.url)
    receiver = Receiver(connection, "jobs", prefetch=2)
    lose_a_claim(way, scripts, receiver)
    getattr(connection, end)()
    assert Receiver(connect(), "jobs", no_ack=True).drain(2).bodies == [1, 2]
    wait_for(lambda: server.keys() == [], "nothing is left")


def test_redis_py_asks_again_by_itself(
    way: Proxy, connect: Connect, server: redis.Redis, scripts: Scripts
) -> None:
    put(connect(), 1, 2, queue="jobs")
    handle = lambda message: message.ack()  # noqa: E731
    connection = connect(way.url, retry_on_timeout=True, socket_timeout=1)
    receiver = Receiver(connection, "jobs", handle=handle)
    way.lose_answers_to(scripts.claim.sha)
    try:
        receiver.drain(1)
    except redis.ConnectionError:  # it depends on its version
        pass
    assert receiver.drain(2).bodies == [1, 2]
    receiver.close()
    assert server.keys() == []


def test_an_ack_is_written_in_the_end(
    way: Proxy, connect: Connect, server: redis.Redis, scripts: Scripts
) -> None:
    put(connect(), 1, queue="jobs")
    receiver = Receiver(connect(way.url), "jobs").drain(1)
    way.lose_answers_to(scripts.ack.sha)
    with pytest.raises(redis.ConnectionError):
        receiver.messages[0].ack()
    receiver.close()
    wait_for(lambda: server.keys() == [], "nothing is left")


def test_what_is_out_goes_back_when_the_connection_is_lost(
    connect: Connect, server: redis.Redis
) -> None:
    put(connect(), 1, 2, queue="jobs")
    connection = connect()
    Receiver(connection, "jobs", prefetch=2).drain(2)
    connection.collect()
    wait_for(lambda: server.keys() == ["jobs"], "all is put back")
    assert Receiver(connect(), "jobs", no_ack=True).drain(2).bodies == [1, 2]


@pytest.mark.parametrize("what", ["the lease", "what is left"])
def test_a_loss_is_noticed_later(
    way: Proxy, connect: Connect, server: redis.Redis, scripts: Scripts, what: str
) -> None:
    put(connect(), 1, 2, queue="jobs")
    connection = connect(way.url, lease=1000)  # no beat of the thread comes between
    receiver = Receiver(connection, "jobs", prefetch=1).drain(1)
    me = owner(receiver)
    assert take_over(server, receiver) == 1
    way.lose_answers_to(scripts.renew.sha if what == "the lease" else "HEXISTS")
    with pytest.raises(redis.ConnectionError):
        me.renew()
    assert way.lost == 1
    me.renew()
    with pytest.raises(redis.ConnectionError, match="longer than its lease"):
        receiver.quiet()
    me.renew()
    assert not me.lost


def test_stock_loses_it(way: Proxy, connect: Connect) -> None:
    """What all this is for."""
    put(connect(), 1, queue="jobs")
    receiver = Receiver(connect(way.url, kind=Connection), "jobs")
    way.lose_answers_to("BRPOP")
    with pytest.raises(redis.ConnectionError):
        receiver.drain(1)
    assert way.lost == 1
    receiver.close()
    assert Receiver(connect(), "jobs").quiet()
