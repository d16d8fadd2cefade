"""Eight processes at one file: put, claim, acknowledge, back up, open and close, empty the log."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import apsw
from kombu import Connection

import flask_celeriac.broker  # noqa: F401 - registers the transport
from flask_celeriac import sqlite, sqlite_opening
from flask_celeriac.backup import back_up
from flask_celeriac.examination import examine
from tests.broker.messages import Receiver, put
from tests.system.other import Other
from tests.system.workers import wait_for

PATIENCE = 600.0
#: The log at the end, and while eight processes have it once a reader has let it grow to that.
LIMIT, BUSY_LIMIT = 2 * sqlite_opening.WAL_LIMIT, 96 * 1024 * 1024


def produce(path: str, pipe: Pipe, first: int, count: int) -> None:
    with Connection(sqlite.url_of(path)) as connection:
        for number in range(first, first + count):
            put(connection, f"{number} {'x' * (number % 3000)}")
    pipe.send(None)


def consume(path: str, pipe: Pipe) -> None:
    """Claim and acknowledge; every tenth is given back once."""
    given_back = set()
    with Connection(sqlite.url_of(path)) as connection:

        def handle(message: object) -> None:
            number = int(message.payload.split()[0])  # type: ignore[attr-defined]
            if number % 10 == 0 and number not in given_back:
                given_back.add(number)
                message.requeue()  # type: ignore[attr-defined]
            else:
                done.append(number)
                message.ack()  # type: ignore[attr-defined]

        done: list[int] = []
        receiver = Receiver(connection, "jobs", prefetch=10, handle=handle)
        while not (pipe.poll() and receiver.quiet(1.5)):
            receiver.quiet(0.1)
    pipe.send(done)


def repeat(path: str, pipe: Pipe, what: Callable[[str], None]) -> None:
    """Do something again and again with a file opened anew each time, as commands do."""
    count = 0
    while not pipe.poll():
        what(path)
        count += 1
    pipe.send(count)


def backup(path: str) -> None:
    file = sqlite.file_at(path)
    back_up(file, f"{path}.backup", overwrite=True)
    file.close()


def check(path: str) -> None:
    file = sqlite.file_at(path)
    found = examine(file)
    file.close()
    assert not found.complaints, found


def empty_log(path: str) -> None:
    """Try to; waiting for readers would keep every writer waiting too."""
    file = sqlite.file_at(path)
    with file.connection() as db:
        db.set_busy_timeout(0)
        try:
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            pass
    file.close()


def hammer(folder: Path, count: int, say: Callable[[str], None]) -> list[str]:
    """Put ``count`` messages from three processes, receive them in two, disturb them in three."""
    folder.mkdir(parents=True)
    path = str(folder / "celeriac.db")
    with Connection(sqlite.url_of(path)) as connection:
        put(connection, "0")
        Receiver(connection, "jobs", handle=lambda message: message.ack()).drain(1).close()
    share = count // 3
    producers = [Other(produce, path, 1 + number * share, share) for number in range(3)]
    consumers = [Other(consume, path) for _ in range(2)]
    disturbers = [Other(repeat, path, what) for what in (backup, check, empty_log)]
    wrong: list[str] = []
    largest = 0
    try:
        _read_for_long(path, producers)
        while not all(producer.pipe.poll(0.02) for producer in producers):
            largest = max(largest, os.stat(f"{path}-wal").st_size)
        repeated = [_stop(other) for other in disturbers]
        received = Counter(number for other in consumers for number in _stop(other))
    finally:
        for other in (*producers, *consumers, *disturbers):
            with other:
                pass
    say(f"{received.total()} messages, log {largest >> 20} MiB at most, repeated {repeated}")
    if received != Counter(range(1, 1 + 3 * share)):
        twice = [number for number, times in received.items() if times > 1]
        wrong.append(f"{received.total()} of {3 * share} received, more than once: {twice[:10]}")
    if largest > BUSY_LIMIT:
        wrong.append(f"the log grew to {largest} bytes")
    sqlite.file_at(path).close()
    found = examine(sqlite.file_at(path))
    if found.complaints or found.log > LIMIT:
        wrong.append(str(found))
    sqlite.file_at(path).close()
    return wrong


def _read_for_long(path: str, producers: list[Other]) -> None:
    """Keep the log from being emptied until it is larger than it should ever be."""
    reader = sqlite_opening.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM message").fetchall()
    wait_for(
        lambda: os.stat(f"{path}-wal").st_size > LIMIT or producers[0].pipe.poll(),
        "a large log",
        PATIENCE,
    )
    reader.close()


def _stop(other: Other) -> list[int]:
    other.send("stop")
    found: list[int] = other.receive(PATIENCE)
    return found
