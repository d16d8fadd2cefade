"""The server goes away and comes back: what was settled meanwhile is written then."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.broker.messages import Receiver, put
from tests.support.processes import wait_for

from .conftest import Connect
from .own_server import OwnServer
from .owners import owner


def ack_in_vain(own_server: OwnServer, receiver: Receiver) -> None:
    own_server.kill()
    with pytest.raises(redis.ConnectionError):
        receiver.messages[0].ack()


def lose(connection: Any) -> None:
    connection.collect()


def close(connection: Any) -> None:
    connection.close()


def texts(server: redis.Redis) -> list[Any]:
    return [json.loads(text) for text in server.lrange("jobs", 0, -1)]


@pytest.mark.parametrize("leave", [lose, close])
def test_what_a_connection_left_unsaid_is_said_later(
    own_server: OwnServer, connect: Connect, leave: Callable[[Any], None]
) -> None:
    put(connect(own_server.url), 1, 2, 3, queue="jobs")
    connection = connect(own_server.url)
    receiver = Receiver(connection, "jobs", prefetch=2).drain(2)
    me = owner(receiver)
    ack_in_vain(own_server, receiver)
    with own_server.client() as server:
        leave(connection)
        wait_for(me._tried.is_set, "it tried")
        own_server.start()
        wait_for(lambda: server.keys() == ["jobs"], "all is said")
        assert [text["headers"].get("celeriac_crashes") for text in texts(server)] == [None, None]
    left = Receiver(connect(own_server.url), "jobs", no_ack=True).drain(2)
    assert left.bodies == [2, 3]


def test_a_claim_whose_answer_was_lost_is_given_back_later(
    own_server: OwnServer, connect: Connect
) -> None:
    put(connect(own_server.url), 1, queue="jobs")
    connection = connect(own_server.url)
    receiver = Receiver(connection, "jobs").drain(1)
    # As if the server had been killed before it could say what it booked.
    owner(receiver).held.clear()
    receiver.channel._unsure = True
    own_server.kill()
    connection.collect()
    own_server.start()
    with own_server.client() as server:
        wait_for(lambda: server.keys() == ["jobs"], "it is given back")
        assert "celeriac_crashes" not in texts(server)[0]["headers"]


def test_a_new_connection_goes_on_as_the_same_process(
    own_server: OwnServer, connect: Connect
) -> None:
    put(connect(own_server.url), 1, 2, queue="jobs")
    connection = connect(own_server.url)
    receiver = Receiver(connection, "jobs", prefetch=1).drain(1)
    me = owner(receiver)
    ack_in_vain(own_server, receiver)
    connection.collect()
    own_server.start()
    again = Receiver(connect(own_server.url), "jobs", prefetch=1)
    again.drain(1).messages[0].ack()
    assert again.bodies == [2]
    again.close()
    with own_server.client() as server:
        wait_for(lambda: server.keys() == [], "all is said")
    wait_for(lambda: not me._thread.is_alive(), "nothing is left to say")


@pytest.mark.parametrize("comes_back", [True, False])
def test_the_end_of_the_process_says_it_or_that_it_could_not(
    own_server: OwnServer,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    comes_back: bool,
) -> None:
    put(connect(own_server.url), 1, queue="jobs")
    connection = connect(own_server.url)
    receiver = Receiver(connection, "jobs").drain(1)
    me = owner(receiver)
    ack_in_vain(own_server, receiver)
    connection.collect()
    if comes_back:
        own_server.start()
    me.end()
    assert not me._thread.is_alive()
    told = "was not told that 1 task(s) have ended" not in caplog.text
    assert told is comes_back
    if comes_back:
        with own_server.client() as server:
            assert server.keys() == []
