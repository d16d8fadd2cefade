"""A broker's file for each test, and connections to it that are closed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kombu import Connection

import flask_celeriac.broker  # noqa: F401 - registers the transport
from flask_celeriac import sqlite

Connect = Callable[..., Connection]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "celeriac.db")


@pytest.fixture
def url(path: str) -> Iterator[str]:
    yield sqlite.url_of(path)
    sqlite.file_at(path).close()


@pytest.fixture
def connect(url: str) -> Iterator[Connect]:
    """Opens connections; each has consumers, claims and prefetch of its own."""
    opened: list[Connection] = []

    def connect(**transport_options: object) -> Connection:
        connection = Connection(url, transport_options=transport_options)
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def connection(connect: Connect) -> Connection:
    return connect()
