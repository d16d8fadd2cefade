"""Threads that a process has while there is something for them to do, where it can have any."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask_celeriac import background
from flask_celeriac.broker.guard import Guard
from flask_celeriac.outbox.courier import Courier
from tests.support.processes import wait_for
from tests.system.workers import ROOT


@contextmanager
def no_more_threads() -> Iterator[None]:
    """As at the end of the interpreter, from Python 3.12 on: no thread has room for its stack."""
    before = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(before)


def test_where_there_can_be_no_thread_there_is_none() -> None:
    done = threading.Event()
    with no_more_threads():
        assert background.start(done.set, "tests") is None
    thread = background.start(done.set, "tests")
    assert thread is not None
    thread.join()
    assert done.is_set()


#: In a process of its own, in which no thread watches yet.
UNWATCHED = """
import socket, sys
from flask_celeriac import deadline
from tests.unit.test_background import no_more_threads

ours, theirs = socket.socketpair()
with no_more_threads(), deadline.watch(ours.fileno(), 0.01):
    ours.send(b"written")
assert theirs.recv(10) == b"written"
with deadline.watch(ours.fileno(), 0.05):  # again with a thread
    assert theirs.recv(10) == b""
assert not deadline._watched
"""


def test_what_is_written_at_the_end_is_written_unwatched() -> None:
    subprocess.run([sys.executable, "-c", UNWATCHED], check=True, timeout=60, cwd=ROOT)


def test_a_guard_and_a_courier_begin_anew_when_they_can() -> None:
    relieved, done = threading.Event(), threading.Event()
    guard, courier = Guard(relieved.set, lambda: 1), Courier()
    with no_more_threads():
        guard.watch()
        assert not courier.do(done.set)
    guard.watch()
    assert courier.do(done.set)
    wait_for(lambda: relieved.is_set() and done.is_set(), "both to have threads")
    guard.stop()
