"""What the file goes through, one statement after the other, in a process that may be killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection as Pipe
from typing import Any

import apsw
from kombu import Connection, Message
from kombu.exceptions import OperationalError
from sqlalchemy.exc import DBAPIError

import flask_celeriac.broker  # noqa: F401 - registers the transport
from flask_celeriac import sqlite, sqlite_opening, states
from flask_celeriac.backlog import backlog_at
from flask_celeriac.broker import claims, guard, queries
from flask_celeriac.broker.store import store_at
from flask_celeriac.database import engine_for
from flask_celeriac.errors import StorageError
from flask_celeriac.records import write_queries
from tests.broker.messages import Receiver, put
from tests.faults import tracing

#: As kombu's producer makes it.
ENVELOPE = (
    '{"headers":{},"properties":{"delivery_mode":2,"delivery_info":{"exchange":"","routing_key":'
    '"jobs"},"priority":0,"body_encoding":null},"content-type":"text/plain","content-encoding":'
    '"utf-8"}'
)
#: What is in the file: each message, and whether somebody has it; each result.
Content = tuple[list[tuple[str, bool]], list[tuple[str, str]]]
NOTHING: Content = ([], [])
#: How a step is refused; anything else is a bug.
REFUSALS = (StorageError, OperationalError, DBAPIError)


def content(path: str) -> Content:
    """What is in a file, read through a connection of its own."""
    db = sqlite_opening.connect(path)
    try:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
        messages: Any = []
        results: Any = []
        if "message" in tables:
            sql = "SELECT body, claim IS NOT NULL FROM message ORDER BY id"
            messages = [(as_text(body), bool(held)) for body, held in db.execute(sql)]
        if "celeriac_record" in tables:
            sql = "SELECT task_id, status FROM celeriac_record ORDER BY task_id"
            results = db.execute(sql).fetchall()
        return messages, results
    finally:
        db.close()


def as_text(body: str | bytes) -> str:
    text = body if isinstance(body, str) else body.decode()
    return text[:10]


class Scenario:
    """Steps that each either happen or do not; one that was refused may be taken again."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.url = sqlite.url_of(path)
        self.store = store_at(path)
        self.connection = Connection(self.url)
        self.received: list[Message] = []
        self._receiver: Receiver | None = None

    @property
    def steps(self) -> list[Callable[[], object]]:
        """In their order, each once."""
        return [
            self.open_the_file,
            self.make_the_tables,
            self.put_one,
            self.put_many,
            self.begin_to_consume,
            self.claim_many,
            self.note_progress,
            self.write_results_and_acks,
            self.give_back,
            self.put_a_large_one,
            self.move_the_log,
            self.claim_again,
            self.begin_the_log_anew,
            self.leave,
            self.receive_the_rest,
            self.close_the_file,
        ]

    def open_the_file(self) -> None:
        self.store.open()

    def make_the_tables(self) -> None:
        engine_for(self.url)

    def put_one(self) -> None:
        put(self.connection, "one", declare=[])

    def put_many(self) -> None:
        self.store.put_many([row(f"many-{number}") for number in range(6)])

    def begin_to_consume(self) -> None:
        if self._receiver is None:
            self._receiver = Receiver(self.connection, "jobs", prefetch=2, handle=self._receive)
            self.channel.claims.enter_loop()
            self.channel.connection.in_event_loop = True
            backlog_at(self.path).open()

    @property
    def channel(self) -> Any:
        assert self._receiver is not None
        return self._receiver.channel

    def _receive(self, message: Message) -> None:
        self.received.append(message)

    def claim_many(self) -> None:
        """Two to run, and the others ahead."""
        self.channel.claims.turn()

    def note_progress(self) -> None:
        with self.store.file.connection() as db:
            write_queries.write_embedded(db, record("task-0", "PROGRESS"))

    def write_results_and_acks(self) -> None:
        """In one transaction, as a solo worker does."""
        storing = Storing()
        for number, message in enumerate(self.received[:2]):
            if not message.acknowledged:
                claim = queries.claim_of(message.delivery_tag)
                assert backlog_at(self.path).put(claim, storing, (f"task-{number}", claim))
                message.ack()
        self.channel.claims.flush()

    def give_back(self) -> None:
        self.channel.claims.relieve()

    def put_a_large_one(self) -> None:
        """More pages than the log may have before it is due to be emptied."""
        self.store.put(row("x" * 40_000))

    def move_the_log(self) -> None:
        with self.store.file.connection() as db:
            db.wal_checkpoint()

    def claim_again(self) -> None:
        self.channel.look()
        self.channel.claims.turn()

    def begin_the_log_anew(self) -> None:
        with self.store.file.connection() as db:
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def leave(self) -> None:
        """What is claimed goes back."""
        self.channel.close()

    def receive_the_rest(self) -> None:
        """However the process left, it lives, and nothing is kept back from anybody."""
        self._receiver = Receiver(self.connection, "jobs").drain(6)
        self.channel.close()

    def close_the_file(self) -> None:
        engine_for(self.url).dispose()
        self.store.file.close()


def row(body: str) -> queries.Row:
    return queries.Row("jobs", 0, None, None, None, None, time.time(), ENVELOPE, body)


class Storing:
    """Writes the results of tasks, given with their claims."""

    def write(self, db: Any, ended: Sequence[tuple[str, tuple[int, int]]]) -> None:
        for task_id, claim in ended:
            write_queries.write_embedded(db, record(task_id, "SUCCESS"), claim, 1000)

    def written(self, ended: object) -> None:
        """Nobody waits."""


def record(task_id: str, state: str) -> dict[str, Any]:
    of_celery = {"state": states.of_celery(state), "status": state}
    return {"task_id": task_id, "updated": time.time(), **of_celery}


def live(path: str, pipe: Pipe, rehearsal: str) -> None:
    """Take every step; say what happens, and wait for an answer each time.

    :param rehearsal: a file to take all steps with before, so that nothing is left to import.
    """
    claims.HOLD, guard.PATIENCE = 60.0, 3600.0  # nothing moves by itself

    def say(*words: str) -> None:
        pipe.send(words)
        pipe.recv()

    for step in Scenario(rehearsal).steps:
        step()
    steps = Scenario(path).steps
    tracing.allow()
    say("ready", "", "")
    for step in steps:
        say("begins", step.__name__, "")
        while error := _refusal(step):
            say("refused", step.__name__, repr(error))
        say("done", step.__name__, "")
    pipe.send(("end", "", ""))


def _refusal(step: Callable[[], object]) -> BaseException | None:
    try:
        step()
    except REFUSALS as error:
        return error
    return None
