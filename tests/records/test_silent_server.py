"""A PostgreSQL server that stands still keeps no task waiting for its record."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from flask import Flask
from kombu import pools
from sqlalchemy.exc import OperationalError

from flask_celeriac import Celeriac, brief, deadline, operations
from flask_celeriac.database import engine_for
from flask_celeriac.errors import StorageError, UnknownTaskError
from tests.faults.harness import servers
from tests.services.conftest import Worker, start, working
from tests.support.processes import wait_for
from tests.support.proxies import Proxy

__all__ = ["start"]


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


class Silent(Proxy):
    """A PostgreSQL server that takes connections, and says nothing.

    :ivar most: how many were open at a time
    """

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 0)
        self.url = f"postgresql+psycopg://somebody@127.0.0.1:{self.port}/nothing"
        self.most = self._open = 0

    def connects(self) -> bool:
        return False

    def _pass_on(self, *args: Any) -> None:
        self._open += 1
        self.most = max(self.most, self._open)
        super()._pass_on(*args)
        self._open -= 1


def test_threads_do_not_wait_for_each_others_silence() -> None:
    """One after the other, the last of many would wait for half a minute."""
    with Silent() as silent, ThreadPoolExecutor(4) as pool:

        def ask() -> None:
            with pytest.raises(OperationalError):
                brief.run(silent.url, lambda connection: None)

        for asked in [pool.submit(ask) for _ in range(4)]:
            asked.result()
        assert silent.most > 1


SHOP = """
import flask
from flask_celeriac import Celeriac
from flask_celeriac.worker import chords, pauses

pauses.INTERVAL = chords.INTERVAL = 0.1
app = flask.Flask("shop", instance_path={folder!r})
app.config.update(CELERY_BROKER_URL={broker!r}, CELERIAC_DATABASE={database!r})
Celeriac(app)
celery = app.extensions["celery"]
"""


celeriac = Celeriac()


@celeriac.task(name="silent.speaks")
def speaks() -> str:
    celeriac.progress(1, 2, "half")
    return "spoken"


def test_a_task_that_says_how_far_it_is_comes_to_its_end(redis_url: str, tmp_path: Path) -> None:
    app = Flask("silent", instance_path=str(tmp_path))
    with Silent() as silent:
        app.config.update(CELERIAC_DATABASE=silent.url)
        app.config["CELERY"] = {"broker_url": redis_url, "result_backend": "cache+memory://"}
        celeriac.init_app(app)
        with app.app_context():
            sent = speaks.delay()
            with working(app):
                assert sent.get(timeout=60) == "spoken"
        app.extensions["celery"].close()
    pools.reset()


@pytest.mark.slow
def test_a_worker_goes_on_with_everything_else(
    server: servers.PostgreSQL,
    redis_url: str,
    tmp_path: Path,
    start: Callable[..., Worker],
) -> None:
    url = server.url.replace("postgresql:", "postgresql+psycopg:")
    source = SHOP.format(folder=str(tmp_path), broker=redis_url, database=url)
    start(source, "-P", "threads", "-c", "1", "-l", "INFO").wait_for(" ready.")
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(CELERY_BROKER_URL=redis_url)
    Celeriac(app)
    celery = app.extensions["celery"]
    assert celery.control.ping(timeout=10, limit=1)
    with standing_still(server):
        time.sleep(1.0)  # its steps ask the database several times
        assert celery.control.ping(timeout=10, limit=1)
    celery.close()
    pools.reset()
