"""Claims on Redis against lists: nothing lost or claimed twice, the order kept, claims fenced."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from flask_celeriac.amqp import FlaskConnection
from flask_celeriac.contrib.redis_broker import member
from tests.broker.messages import put
from tests.support.pieces import redis_database

QUEUES = ["jobs", "mail"]
STEPS = [0, 3, 6, 9]
queue_names = st.sampled_from(QUEUES)
owners = st.integers(0, 1)


@dataclass
class Entry:
    """A message as the model has it."""

    body: int
    queue: str
    step: int


@dataclass
class Held:
    """A message that was claimed; the claim is worth nothing when its entry is None."""

    owner: int
    message: Any
    entry: Entry | None


class ClaimsMachine(RuleBasedStateMachine):
    """Every rule does the same to Redis and to lists."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.server = redis.Redis.from_url(self.url)
        self.server.flushdb()
        # Those with leases of their own are processes of their own.
        self.connections = [
            FlaskConnection(self.url, transport_options={"lease": 100 + number})
            for number in range(2)
        ]
        self.channels: list[Any] = [connection.channel() for connection in self.connections]
        self.ready = {(queue, step): [] for queue in QUEUES for step in STEPS}
        self.held: list[Held] = []
        self.numbers = itertools.count()

    def teardown(self) -> None:
        for connection in self.connections:
            connection.close()
        assert not self.server.exists("unacked", "unacked_index", "celeriac.workers")
        left = sum(map(len, self.ready.values())) + sum(
            held.entry is not None for held in self.held
        )
        assert sum(size_of(self.server, queue, step) for queue, step in self.ready) == left
        self.server.close()

    @rule(queue=queue_names, priority=st.integers(0, 9))
    def put(self, queue: str, priority: int) -> None:
        entry = Entry(next(self.numbers), queue, max(s for s in STEPS if s <= priority))
        put(self.connections[0], entry.body, queue=queue, priority=priority)
        self.ready[queue, entry.step].append(entry)

    @rule(owner=owners, queue=queue_names)
    def get(self, owner: int, queue: str) -> None:
        message = self.channels[owner].basic_get(queue)
        expected = next(
            (self.ready[queue, step] for step in STEPS if self.ready[queue, step]), None
        )
        assert (message is None) == (expected is None)
        if message is not None:
            assert expected is not None
            entry = expected.pop(0)
            assert message.payload == entry.body
            self.held.append(Held(owner, message, entry))

    def one_held(self, number: int) -> Held | None:
        return self.held.pop(number % len(self.held)) if self.held else None

    @rule(number=st.integers(0, 99))
    def ack(self, number: int) -> None:
        if held := self.one_held(number):
            held.message.ack()

    @rule(number=st.integers(0, 99))
    def requeue(self, number: int) -> None:
        if held := self.one_held(number):
            held.message.requeue()
            if held.entry is not None:
                self.ready[held.entry.queue, held.entry.step].insert(0, held.entry)

    @rule(owner=owners)
    def die(self, owner: int) -> None:
        """Others take the process to be dead, which goes on using what it has."""
        me = self.channels[owner].join()
        self.server.zadd(me.keys.workers, {me.id: 1})
        lost = [held for held in self.held if held.owner == owner and held.entry is not None]
        assert member.recover(me._server, me.keys, me.id) == len(lost)
        for held in reversed(lost):
            assert held.entry is not None
            self.ready[held.entry.queue, held.entry.step].insert(0, held.entry)
            held.entry = None

    @invariant()
    def it_is_the_same(self) -> None:
        booked = {tag.decode() for tag in self.server.hkeys("unacked")}
        assert booked == {held.message.delivery_tag for held in self.held if held.entry is not None}
        assert self.server.zcard("unacked_index") == len(booked)
        for (queue, step), entries in self.ready.items():
            assert size_of(self.server, queue, step) == len(entries)


def size_of(server: redis.Redis, queue: str, step: int) -> int:
    return int(server.llen(f"{queue}\x06\x16{step}" if step else queue))  # type: ignore[arg-type]


@pytest.fixture
def url() -> Iterator[str]:
    with redis_database() as url:
        yield url


def test_claims(url: str) -> None:
    machine = type("Machine", (ClaimsMachine,), {"url": url})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=8,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
