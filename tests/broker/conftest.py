"""A broker's file for each test, and connections to it that are closed again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Message

import flask_celeriac.broker  # noqa: F401 - registers the transport
from flask_celeriac import sqlite
from tests.broker.loops import Loop

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


@pytest.fixture
def loop(connect: Connect) -> Iterator[Callable[..., Loop]]:
    loops: list[Loop] = []

    def make(handle: Callable[[Message], Any], prefetch: int = 1) -> Loop:
        loops.append(Loop(connect(), handle, prefetch))
        return loops[-1]

    yield make
    for one in loops:
        one.close()


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of a few MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={request.param}m", "tmpfs", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small disk can be mounted by root only: {mounted.stderr.strip()}")
    yield directory
    sqlite.file_at(str(directory / "celeriac.db")).close()
    subprocess.run(["umount", "-l", str(directory)], check=True)
