"""What other processes do in these tests."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection as Pipe

from kombu import Connection, Exchange, Queue

import flask_celeriac.broker  # noqa: F401 - registers the transport
from tests.broker.messages import Receiver, put


def claim_and_wait(url: str, pipe: Pipe, queue: str, count: int) -> None:
    """Claim messages, say so, and hold them until told to go on."""
    with Connection(url) as connection:
        receiver = Receiver(connection, queue, prefetch=count).drain(count)
        pipe.send(receiver.bodies)
        if pipe.recv() == "ack":
            for message in receiver.messages:
                message.ack()
        pipe.send("done")


def consume_auto_delete(url: str, pipe: Pipe, name: str) -> None:
    """Consume from an auto-delete queue until killed."""
    with Connection(url) as connection:
        Receiver(connection, Queue(name, auto_delete=True))
        pipe.send("consuming")
        pipe.recv()


def listen_to_fanout(url: str, pipe: Pipe, exchange: str, queue: str, count: int) -> None:
    """Bind a queue to a fanout exchange and report what comes."""
    with Connection(url) as connection:
        fanout = Exchange(exchange, type="fanout")
        receiver = Receiver(connection, Queue(queue, fanout, auto_delete=True), no_ack=True)
        pipe.send("bound")
        pipe.send(receiver.drain(count).bodies)


def put_many(url: str, pipe: Pipe, queue: str, first: int, count: int) -> None:
    """Put numbers into a queue."""
    with Connection(url) as connection:
        put(connection, *range(first, first + count), queue=queue)
    pipe.send("done")


def consume_all(url: str, pipe: Pipe, queue: str) -> None:
    """Consume and acknowledge until told to end and nothing comes any more; report it."""
    with Connection(url) as connection:
        receiver = Receiver(connection, queue, prefetch=10, handle=lambda message: message.ack())
        while not (pipe.poll() and receiver.quiet(0.3)):
            receiver.quiet(0.05)
        pipe.send(receiver.bodies)


def open_at_once(url: str, pipe: Pipe) -> None:
    """Open a file that may not exist yet, the moment the others do."""
    pipe.send("here")
    pipe.recv()
    try:
        with Connection(url) as connection:
            put(connection, os.getpid())
        pipe.send("ok")
    except BaseException as error:
        pipe.send(repr(error))
        raise


def die_inside_transaction(url: str, pipe: Pipe, path: str) -> None:
    """Be killed with a write transaction open."""
    from flask_celeriac import sqlite

    with sqlite.file_at(path).transaction() as db:
        db.execute("DELETE FROM message")
        pipe.send("inside")
        os.kill(os.getpid(), signal.SIGKILL)


def put_and_wait(url: str, pipe: Pipe, queue: str) -> None:
    """Put a message, as a web server does, and live on."""
    with Connection(url) as connection:
        put(connection, "put", queue=queue)
        pipe.send("put")
        pipe.recv()


def salvage(path: str, pipe: Pipe) -> None:
    """Set a file aside, and copy what can be read into a new one."""
    from flask_celeriac import sqlite
    from flask_celeriac.broker.store import store_at
    from flask_celeriac.database import engine_for
    from flask_celeriac.exclusive import set_aside
    from flask_celeriac.salvage import copy

    aside = set_aside(sqlite.file_at(path))
    store_at(path).open()
    engine_for(sqlite.url_of(path))
    pipe.send((aside, copy(aside, sqlite.file_at(path)).rows))
