"""What waits in a broker's queues, as one more client of it sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amqp.exceptions import ChannelError
from kombu import Connection

import flask_celeriac.broker  # noqa: F401 - registers the transport
from flask_celeriac import sqlite


@contextmanager
def _connection(url: str) -> Iterator[Connection]:
    """A connection that leaves nothing open in this process."""
    try:
        with Connection(url) as connection:
            yield connection
    finally:
        if url.startswith("celeriac:"):
            sqlite.file_at(sqlite.path_of(url)).close()


def counted(url: str, *names: str) -> dict[str, int]:
    """How many messages are ready in which queue; none in one that is not there."""
    return {name: _count(url, name) for name in names}


def _count(url: str, name: str) -> int:
    with _connection(url) as connection:
        try:
            channel: Any = connection.channel()
            return int(channel.queue_declare(name, passive=True).message_count)
        except ChannelError:
            return 0


def only_task_in(url: str, name: str = "celery") -> tuple[str, str, Any]:
    """The name, the id and the arguments of the one task in a queue; it is put back."""
    with _connection(url) as connection, connection.SimpleQueue(name) as queue:
        assert queue.qsize() == 1
        message = queue.get(timeout=60)
        message.requeue()
        return message.headers["task"], message.headers["id"], message.payload[0]
