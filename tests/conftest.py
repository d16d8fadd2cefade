"""Fixtures for every test: real servers, each test alone on its piece of them."""

from __future__ import annotations

import fcntl
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import redis
import sqlalchemy

from tests.support import services
from tests.support.leaks import _nothing_left_behind  # noqa: F401 - a fixture
from tests.support.skips import (  # noqa: F401 - hooks
    pytest_make_collect_report,
    pytest_runtest_makereport,
)


@cache
def missing(service: services.Service) -> str | None:
    return service.missing()


def need(service: services.Service) -> str:
    """The URL of a server; without it the test is skipped, which CI counts as a failure."""
    if reason := missing(service):
        pytest.skip(reason)
    return service.url


@pytest.fixture
def redis_url() -> Iterator[str]:
    """An empty Redis database that no other test uses, here or in another run."""
    base = urlsplit(need(services.REDIS))
    with claimed(range(8, 16), "redis") as number:
        url = base._replace(path=f"/{number}").geturl()
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        yield url


@contextmanager
def claimed(numbers: range, purpose: str) -> Iterator[int]:
    """Hold one of some numbers, also against other runs; the kernel frees it if we die."""
    for number in numbers:
        path = Path(tempfile.gettempdir()) / f"celeriac-tests-{purpose}-{number}.lock"
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield number
            return
    raise RuntimeError(f"more than {len(numbers)} tests need {purpose} at once")


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A new PostgreSQL database."""
    yield from new_database(need(services.POSTGRES), drop="DROP DATABASE {} WITH (FORCE)")


@pytest.fixture
def mariadb_url() -> Iterator[str]:
    """A new MariaDB database."""
    yield from new_database(need(services.MARIADB), drop="DROP DATABASE {}")


def new_database(url: str, drop: str) -> Iterator[str]:
    name = f"celeriac_{uuid.uuid4().hex[:12]}"
    server = sqlalchemy.create_engine(
        url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool
    )
    with server.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        with server.connect() as connection:
            connection.execute(sqlalchemy.text(drop.format(name)))


@pytest.fixture
def rabbitmq_url() -> Iterator[str]:
    """A new RabbitMQ virtual host."""
    url = need(services.RABBITMQ)
    name = f"celeriac-{uuid.uuid4().hex[:12]}"
    user = quote(urlsplit(url).username or "guest", safe="")
    services.rabbitmq_api(url, "PUT", f"/vhosts/{name}")
    try:
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        services.rabbitmq_api(url, "PUT", f"/permissions/{name}/{user}", json=everything)
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        services.rabbitmq_api(url, "DELETE", f"/vhosts/{name}")


@pytest.fixture
def unused_tcp_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
