"""Answers of Redis get lost after it has done what it was asked; nothing is lost with them."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import redis
from kombu import Connection

from flask_celeriac.amqp import FlaskConnection
from flask_celeriac.contrib.redis_broker.scripts import Scripts
from tests.broker.messages import Receiver, put
from tests.broker.redis.proxy import Proxy
from tests.support.pieces import redis_database
from tests.support.processes import wait_for

LOSSES = 500


def run(folder: Path, seed: int, scale: float, say: Callable[[str], None]) -> list[str]:
    """Lost answers, with claims and, for comparison, without."""
    count = max(10, round(LOSSES * scale))
    got, left = lose(FlaskConnection, seed, count)
    lost = count - len(got)
    say(f"claims: {count} answers lost, {lost} messages lost, {got.total() - len(got)} came twice")
    stocks, _ = lose(Connection, seed, count)
    say(f"kombu's transport: {count} answers lost, {count - len(stocks)} messages lost")
    wrong = [f"seed {seed}: {lost} messages lost"] if lost else []
    return wrong + ([f"seed {seed}: left behind: {left}"] if left else [])


def lose(kind: type[Connection], seed: int, count: int) -> tuple[Counter[int], list[bytes]]:
    """Receive messages while the answer to one claim or acknowledgement for each is lost."""
    chance = random.Random(seed)
    got: Counter[int] = Counter()

    def handle(message: object) -> None:
        got[message.payload] += 1  # type: ignore[attr-defined]
        message.ack()  # type: ignore[attr-defined]

    with redis_database() as url, redis.Redis.from_url(url) as server, Proxy(url) as way:
        scripts = Scripts(server)
        words = [scripts.claim.sha] if kind is FlaskConnection else ["BRPOP"]
        if kind is FlaskConnection:
            words.append(scripts.ack.sha)
        with Connection(url) as sender:
            put(sender, *range(count), queue="jobs")
        for _ in range(count):
            connection = kind(way.url)
            with contextlib.suppress(redis.ConnectionError):
                receiver = Receiver(connection, "jobs", handle=handle, prefetch=2)
                way.lose_answers_to(chance.choice(words))
                while way.lose:
                    connection.drain_events(timeout=0.2)
                receiver.drain(len(receiver.messages) + 1)
            way.lose = 0
            with contextlib.suppress(redis.ConnectionError, TimeoutError):
                connection.collect() if chance.random() < 0.5 else connection.close()
        with kind(url) as connection:
            receiver = Receiver(connection, "jobs", handle=handle)
            with contextlib.suppress(TimeoutError):
                while True:
                    connection.drain_events(timeout=1)
            receiver.close()
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not server.keys(), "nothing is left", 5)
        return got, list(server.keys())
