"""A piece of a real server for one test alone, for the length of a ``with`` block."""

from __future__ import annotations

import fcntl
import gc
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import TextIOWrapper
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import redis
import sqlalchemy

from tests.support import services
from tests.support.processes import wait_for

#: The same for all runs on this machine, whatever a test makes of the temporary folder.
LOCKS = Path(tempfile.gettempdir())


@cache
def missing(service: services.Service) -> str | None:
    return service.missing()


def need(service: services.Service) -> str:
    """The URL of a server; without it the test is skipped, which CI counts as a failure."""
    if reason := missing(service):
        pytest.skip(reason)
    return service.url


@contextmanager
def redis_database() -> Iterator[str]:
    """An empty Redis database, of the server's upper half or above: the lower may be in use."""
    base = urlsplit(need(services.REDIS))
    with redis.Redis.from_url(base.geturl()) as client:
        count = int(client.config_get("databases")["databases"])
    with claimed(range(8, count), "redis") as number:
        url = base._replace(path=f"/{number}").geturl()
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        yield url
        # A client that a test left is closed here, not in the middle of another test.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@contextmanager
def claimed(numbers: range, purpose: str) -> Iterator[int]:
    """Hold one of some numbers, also against other runs; the kernel frees it if we die."""
    number, lock = wait_for(lambda: claim(numbers, purpose), f"one of {len(numbers)} {purpose}")
    _ours.add((purpose, number))
    try:
        with lock:
            yield number
    finally:
        _ours.discard((purpose, number))


def claim(numbers: range, purpose: str) -> tuple[int, TextIOWrapper] | None:
    """A lock of the process: a pool process that is forked meanwhile does not have it, too."""
    for number in numbers:
        if (purpose, number) in _ours:  # which would be locked once more, and freed
            continue
        lock = (LOCKS / f"celeriac-tests-{purpose}-{number}.lock").open("w")
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            lock.close()
        else:
            return number, lock
    return None


#: What this process holds.
_ours: set[tuple[str, int]] = set()


@contextmanager
def sql_database(service: services.Service, drop: str) -> Iterator[str]:
    """A new database.

    :param drop: the statement that removes one, whoever is still connected to it.
    """
    url = need(service)
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


@contextmanager
def rabbitmq_vhost() -> Iterator[str]:
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
