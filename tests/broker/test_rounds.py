"""What an idle solo worker does about a message: one round of its event loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.worker import state
from kombu import Connection, Message

from tests.broker.conftest import Connect
from tests.broker.loops import Loop
from tests.broker.messages import put, size

Make = Callable[..., Loop]


def ran(message: Message) -> None:
    """As a solo worker does: the task has been run when its message was delivered."""
    state.all_total_count[0] += 1


@pytest.fixture
def client(connect: Connect) -> Connection:
    return connect()


@pytest.fixture
def idle(client: Connection, loop: Make) -> Iterator[Callable[..., Loop]]:
    """A loop that has seen to a message before, and waits."""

    def make(handle: Callable[[Loop, Message], Any]) -> Loop:
        worker: Loop = loop(lambda message: handle(worker, message), prefetch=4)
        put(client, "first")
        worker.until(lambda: worker.receiver.bodies == ["first"] and not is_rung(worker))
        return worker

    return make


def is_rung(worker: Loop) -> bool:
    """Whether the loop would go on at once."""
    is_due = any(when <= time.monotonic() for when, *_ in worker.hub.timer._queue)
    return is_due or bool(worker.hub.poller.poll(0))


def messages(worker: Loop) -> int:
    """Those in the file, claimed ones too."""
    with worker.transport.store.file.connection() as db:
        return int(db.execute("SELECT count(*) FROM message").fetchall()[0][0])


def test_a_message_is_run_and_acknowledged(client: Connection, idle: Make) -> None:
    def handle(worker: Loop, message: Message) -> None:
        ran(message)
        message.ack()

    worker = idle(handle)
    for number in range(3):
        put(client, number)
        worker.hub.run_once()
        assert worker.receiver.bodies[-1] == number
        assert not is_rung(worker)
    assert messages(worker) == 0


def test_what_could_not_be_acknowledged_yet_is_so_in_the_next_round(
    client: Connection, idle: Make
) -> None:
    def handle(worker: Loop, message: Message) -> None:
        ran(message)
        worker.hub.call_soon(message.ack)

    worker = idle(handle)
    put(client, "second")
    worker.hub.run_once()
    assert worker.receiver.bodies[-1] == "second"
    assert messages(worker) == 1
    worker.hub.call_later(0.001, lambda: None)  # or it would wait for whatever comes next
    worker.hub.run_once()
    assert messages(worker) == 0


def test_a_worker_that_is_to_stop_begins_nothing(
    client: Connection, idle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event loop looks whether it is at the beginning of a round, and waits at the end."""
    worker = idle(lambda worker, message: (ran(message), message.ack()))
    monkeypatch.setattr(state, "should_stop", 0)
    put(client, "second")
    worker.hub.run_once()
    assert worker.receiver.bodies == ["first"]


def test_where_there_is_a_pool_nothing_is_run_inline(client: Connection, loop: Make) -> None:
    """Its threads begin tasks while messages are delivered."""
    worker = loop(ran, prefetch=2)
    worker.transport.runs_inline = False
    put(client, *range(5))
    worker.until(lambda: len(worker.receiver.bodies) >= 2)
    assert worker.receiver.bodies == [0, 1]  # and not all that it holds
    assert not worker.receiver.channel.claims.inline


def test_a_turn_that_fails_does_not_end_the_loop(client: Connection, idle: Make) -> None:
    def handle(worker: Loop, message: Message) -> None:
        ran(message)
        if message.payload == "bad" and not message.delivery_info.get("redelivered"):
            raise ValueError("bad")
        message.ack()

    worker = idle(handle)
    put(client, "bad", "good")
    worker.until(lambda: size(client) == 0)
    assert set(worker.receiver.bodies) == {"first", "bad", "good"}
