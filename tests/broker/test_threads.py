"""Acks from other threads, and forks at bad moments."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from kombu import Message
from sqlalchemy import text

from flask_celeriac import database, fork_gate, sqlite, sqlite_dbapi
from tests.broker.conftest import Connect
from tests.broker.messages import Receiver, put, size
from tests.system.workers import alive, wait_for


def test_acks_from_many_threads(connect: Connect) -> None:
    count = 1000
    put(connect(), *range(count))
    waiting: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    errors: list[BaseException] = []

    def settle() -> None:
        while (message := waiting.get()) is not None:
            try:
                message.ack()
            except BaseException as error:  # noqa: BLE001 - a thread's error is the test's
                errors.append(error)

    threads = [threading.Thread(target=settle) for _ in range(4)]
    for thread in threads:
        thread.start()
    receiver = Receiver(connect(), "jobs", prefetch=50, handle=waiting.put)
    receiver.drain(count, 60.0)
    for _ in threads:
        waiting.put(None)
    for thread in threads:
        thread.join()
    assert errors == []
    receiver.close()
    assert size(connect()) == 0
    assert receiver.bodies == list(range(count))


def test_threads_may_share_one_connection_to_put(connect: Connect) -> None:
    connection = connect()

    def produce(first: int) -> None:
        put(connection, *range(first, first + 100))

    threads = [threading.Thread(target=produce, args=(n * 100,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(Receiver(connect(), "jobs").drain(400).bodies) == list(range(400))


@contextmanager
def in_the_background(step: Callable[[], object], threads: int = 2) -> Iterator[None]:
    """Repeat a step in other threads for the length of a ``with`` block."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            step()

    running = [threading.Thread(target=repeat) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in running:
            thread.join()


def fork_and(step: Callable[[], object], seconds: float = 20.0) -> int:
    """Run a step in a forked child; its exit code, or minus the signal when it hung."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            step()
            code = 0
        finally:
            os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGALRM


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_while_threads_are_inside_sqlite(connect: Connect, path: str) -> None:
    """The child uses the same file at once, through connections of its own."""
    connection = connect()
    put(connection, "first")
    file = sqlite.file_at(path)

    def write() -> None:
        with file.transaction() as db:
            db.execute("UPDATE message SET starts = starts + 1")

    with in_the_background(write):
        for _ in range(25):
            assert fork_and(lambda: put(connect(), "child")) == 0
    assert size(connect()) == 26


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_while_threads_open_connections(connect: Connect, path: str) -> None:
    """As SQLAlchemy's pool does, for results."""
    put(connect(), "first")

    def open_and_close() -> None:
        connection = sqlite_dbapi.connect(path)
        connection.cursor().execute("SELECT count(*) FROM message")
        connection.close()

    with in_the_background(open_and_close):
        for _ in range(25):
            assert fork_and(open_and_close) == 0


def open_files(path: str) -> list[str]:
    """What this process has open of a file, its log and their index."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [name for name in found if name.startswith(path)]


def test_a_connection_between_two_statements_is_not_taken_along(
    connect: Connect, path: str
) -> None:
    """Its parent may cut the index in which the child believes to have a lock."""
    put(connect(), "first")
    engine = database.engine_for(sqlite.url_of(path))
    with engine.connect() as connection:
        counting = text("SELECT count(*) FROM message")
        assert connection.execute(counting).scalar() == 1
        assert open_files(path)

        def child() -> None:
            assert open_files(path) == []
            put(connect(), "second")

        assert fork_and(child) == 0
        assert connection.execute(counting).scalar() == 2


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_leaves_its_parents_claims_alone(connect: Connect) -> None:
    put(connect(), "a", "b")
    connection = connect()
    receiver = Receiver(connection, "jobs").drain(2)

    def child() -> None:
        put(connect(), "c")
        connection.close()

    assert fork_and(child) == 0
    assert Receiver(connect(), "jobs").drain(1).bodies == ["c"]
    receiver.messages[0].ack()
    receiver.close()
    assert Receiver(connect(), "jobs").drain(1).bodies == ["b"]


def test_a_fork_waits_for_no_transaction_of_its_own_thread(path: str) -> None:
    file = sqlite.file_at(path)
    with file.transaction() as db:
        db.execute("CREATE TABLE here (x)")
        began = time.monotonic()
        assert fork_and(lambda: None) == 0
        assert time.monotonic() - began < 3.0
    file.close()


def test_a_forked_child_may_close_what_it_did_not_open(connect: Connect, path: str) -> None:
    """As beat does in a worker started with ``-B``: SQLite must not go on with those numbers."""
    connection, engine = connect(), database.engine_for(sqlite.url_of(path))

    def use() -> None:
        put(connection, "message")
        with engine.begin() as db:
            db.exec_driver_sql("DELETE FROM celeriac_pause")

    def child() -> None:
        os.closerange(3, 256)
        use()

    use()
    for _ in range(3):
        assert fork_and(child) == 0
        use()
    engine.dispose()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forks_in_several_threads_while_others_are_inside_sqlite(
    connect: Connect, path: str
) -> None:
    """One that is done does not open the gate for who is about to fork."""
    put(connect(), "first")
    file = sqlite.file_at(path)
    codes: list[int] = []

    def write() -> None:
        with file.transaction() as db:
            db.execute("UPDATE message SET starts = starts + 1")

    def fork() -> None:
        codes.extend(fork_and(write) for _ in range(10))

    forking = [threading.Thread(target=fork) for _ in range(2)]
    with in_the_background(write):
        for thread in forking:
            thread.start()
        for thread in forking:
            thread.join()
    assert codes == [0] * 20


def test_the_gate_stays_closed_until_the_last_fork_is_done() -> None:
    """Two threads fork at once, in the order that leaves the second one alone."""
    fork_gate._before_fork()
    fork_gate._before_fork()
    fork_gate._after_in_parent()
    inside = threading.Event()

    def enter() -> None:
        fork_gate.enter()
        inside.set()
        fork_gate.leave()

    entering = threading.Thread(target=enter)
    entering.start()
    assert not inside.wait(0.2)
    fork_gate._after_in_parent()
    entering.join()
    assert inside.is_set()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_consumes_by_itself(connect: Connect) -> None:
    """As a task of a solo worker may do, while the worker itself consumes in other threads."""
    put(connect(), *range(12))
    parents = Receiver(connect(), "jobs", prefetch=1).drain(1)

    other: Any = connect()
    Receiver(other, "other").close()
    transport, virtual = other.transport, other.connection

    def join_and_leave() -> None:
        # Without kombu's connection, whose locks a child may be forked with.
        channel = transport.create_channel(virtual)
        channel.basic_consume("other", False, print, "tag")
        channel.close()

    def child() -> None:
        receiver = Receiver(connect(), "jobs", prefetch=1).drain(1)
        receiver.messages[0].ack()
        receiver.close()

    with in_the_background(join_and_leave):
        for _ in range(10):
            assert fork_and(child) == 0
    assert Receiver(connect(), "jobs").drain(1).bodies == [11]
    parents.messages[0].ack()
    assert size(connect()) == 0


def test_killing_nobody() -> None:
    """The helper that looks for living processes can tell."""
    assert alive(os.getpid())
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    wait_for(lambda: not alive(pid), "dead")
    os.waitpid(pid, 0)
