"""Connections to Redis as an application makes them, and a look behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection

from flask_celeriac.amqp import FlaskConnection

from .own_server import OwnServer

Connect = Callable[..., Connection]


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    """Redis itself."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnServer]:
    """A Redis that may be killed."""
    found = OwnServer(tmp_path)
    try:
        yield found.start()
    finally:
        found.kill()


@pytest.fixture
def connect(redis_url: str) -> Iterator[Connect]:
    """Opens connections; those with leases of their own count as processes of their own."""
    opened: list[Connection] = []

    def connect(
        url: str = redis_url, kind: type[Connection] = FlaskConnection, **options: Any
    ) -> Connection:
        connection = kind(url, transport_options=options)
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def connection(connect: Connect) -> Connection:
    return connect()
