"""A PostgreSQL server that stands still keeps no task waiting for its record."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from flask import Flask
from kombu import pools

from flask_celeriac import Celeriac, brief, deadline, operations
from flask_celeriac.database import engine_for
from flask_celeriac.errors import StorageError, UnknownTaskError
from tests.faults.harness import servers
from tests.support.processes import wait_for


@pytest.fixture
def server() -> Iterator[servers.PostgreSQL]:
    if not servers.can_prepare():
        pytest.skip("PostgreSQL's initdb is not there")
    with contextlib.closing(servers.PostgreSQL()) as server:
        server.start()
        yield server


@contextlib.contextmanager
def standing_still(server: servers.PostgreSQL) -> Iterator[None]:
    assert server.process is not None
    main = psutil.Process(server.process.pid)
    processes = [main, *main.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


@pytest.mark.slow
def test_a_call_goes_on_and_so_do_records(
    server: servers.PostgreSQL, redis_url: str, tmp_path: Path
) -> None:
    url = server.url.replace("postgresql:", "postgresql+psycopg:")
    app = Flask("silent", instance_path=str(tmp_path))
    app.config.update(CELERY_BROKER_URL=redis_url, CELERIAC_DATABASE=url)
    celeriac = Celeriac(app)

    @celeriac.task(name="silent.one", queue="idle")
    def one() -> None:
        """Runs nowhere."""

    celery: Any = app.extensions["celery"]
    before = one.delay()
    assert operations.show(celery, before.id).state == "queued"
    with standing_still(server):
        silent = one.delay()  # on a connection that it has used before; it returns
    after = wait_for(lambda: _sent(one), "the records are written again")
    assert operations.show(celery, after.id).state == "queued"
    assert silent.id != after.id
    engine_for(url).dispose()
    brief._engines.pop(url).dispose()
    celery.close()
    pools.reset()


def _sent(task: Any) -> Any:
    sent = task.delay()
    try:
        operations.show(task.app, sent.id)
    except (UnknownTaskError, StorageError):  # it is not recorded yet
        return None
    return sent


def test_only_what_takes_too_long_is_shut_down() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for _ in range(100):
            with deadline.watch(ours.fileno(), 30.0):
                pass
        with deadline.watch(ours.fileno(), 0.05):
            assert theirs.recv(1) == b""  # until it is shut down
        assert deadline._watched == {}


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_watches_by_itself() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, deadline.watch(ours.fileno(), 30.0):
        pid = os.fork()
        if pid == 0:
            code = 1
            with contextlib.suppress(BaseException), deadline.watch(ours.fileno(), 0.05):
                code = len(theirs.recv(1))
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
