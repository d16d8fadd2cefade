"""A short form of ``make faults``, and faults that need no strace."""

from __future__ import annotations

import random
import resource
import signal
import threading
from collections import Counter
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError

import flask_celeriac.broker  # noqa: F401 - registers the transport
from flask_celeriac import sqlite, sqlite_opening
from flask_celeriac.errors import StorageError, StorageUnavailableError
from flask_celeriac.examination import examine
from tests.broker.messages import Receiver, put, size
from tests.faults import statements, stops, sweep, tracing
from tests.faults.hammer import hammer
from tests.system.other import Other

needs_strace = pytest.mark.skipif(bool(tracing.missing()), reason=str(tracing.missing()))


@pytest.fixture
def seed() -> int:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}: python -m tests.faults --scale 0.0025 --seed {seed}")
    return seed


def one_kill(counts: Counter[str], seed: int, runs: int) -> list[sweep.Fault]:
    return random.Random(seed).sample(sweep.kills(counts, seed, runs), 1)


def two_errors(counts: Counter[str], seed: int, runs: int) -> list[sweep.Fault]:
    return random.Random(seed).sample(sweep.errors(counts, seed, runs), 2)


@needs_strace
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("choose", [one_kill, two_errors], ids=["kill", "errors"])
def test_no_acknowledged_task_is_lost_to_a_fault_at_a_system_call(
    tmp_path: Path, seed: int, choose: sweep.Choose
) -> None:
    assert sweep.sweep(tmp_path / "sweep", seed, 1, choose, print) == []


@needs_strace
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("choose", [statements.kills, statements.errors], ids=["kill", "errors"])
def test_a_statement_happens_as_a_whole_or_is_refused(
    tmp_path: Path, seed: int, choose: statements.Choose
) -> None:
    assert statements.sweep(tmp_path / "sweep", seed, 0.005, choose, print) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_that_stops_gives_back_what_it_claimed_ahead(tmp_path: Path, seed: int) -> None:
    stop = random.Random(seed).choice(stops.EVERY)
    assert stops.sweep(tmp_path / "stop", seed, [stop], 1, print) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_eight_processes_at_one_file(tmp_path: Path) -> None:
    assert hammer(tmp_path / "hammer", 1500, print) == []


def fill_up_to(path: str, pipe: Pipe, limit: int) -> None:
    """Put until the file may not grow any more; then acknowledge what was claimed before."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    acknowledged = 1
    with Connection(sqlite.url_of(path)) as connection:
        put(connection, "claimed")
        receiver = Receiver(connection, "jobs", prefetch=1).drain(1)
        with Connection(sqlite.url_of(path)) as producer:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                while True:
                    put(producer, "x" * 50_000)
                    acknowledged += 1
            except (StorageError, OperationalError) as error:
                refused = str(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            receiver.messages[0].ack()
            put(producer, "room again")
            acknowledged += 1
    pipe.send((acknowledged, refused))


def test_a_file_that_may_not_grow_is_a_clear_error_and_goes_on_afterwards(tmp_path: Path) -> None:
    path = str(tmp_path / "celeriac.db")
    with Other(fill_up_to, path, 4 * 1024 * 1024) as other:
        acknowledged, refused = other.receive(110)
    assert "disk" in refused
    assert acknowledged > 10
    with Connection(sqlite.url_of(path)) as connection:
        assert size(connection) == acknowledged - 1
    assert examine(sqlite.file_at(path)).complaints == []
    sqlite.file_at(path).close()


def hold(path: str, pipe: Pipe) -> None:
    """Be stopped with a write transaction open."""
    with sqlite.file_at(path).transaction() as db:
        db.execute("DELETE FROM message")
        pipe.send("holding")
        pipe.recv()


@pytest.mark.parametrize("ending", [signal.SIGCONT, signal.SIGKILL])
def test_a_writer_that_is_stopped_holds_others_up_but_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: signal.Signals
) -> None:
    path = str(tmp_path / "celeriac.db")
    with Connection(sqlite.url_of(path)) as connection:
        put(connection, 1)
        with Other(hold, path) as holder:
            assert holder.receive(90) == "holding"
            holder.signal(signal.SIGSTOP)
            monkeypatch.setattr(sqlite_opening, "BUSY_TIMEOUT", 0.2)
            with pytest.raises(StorageUnavailableError, match="try again"):
                sqlite.file_at(path).transaction().__enter__()
            assert size(connection) == 1  # readers do not wait
            monkeypatch.undo()
            waiting = threading.Thread(target=put, args=(connection, 2))
            waiting.start()
            holder.signal(ending)
            if ending is signal.SIGCONT:
                holder.kill()
            waiting.join(90)
        assert size(connection) == 2
    sqlite.file_at(path).close()
