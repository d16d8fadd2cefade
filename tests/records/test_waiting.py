"""Waiting for results where a worker runs, or does not."""

from __future__ import annotations

import logging
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery, chain, chord, group
from celery.exceptions import TimeoutError

from flask_celeriac import sqlite
from flask_celeriac.records import waiting
from tests.records.conftest import DATABASES, database_url
from tests.system.tasks import BACKEND, client
from tests.system.workers import wait_for, worker

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return sqlite.url_of(str(tmp_path / "celeriac.db"))


@pytest.fixture
def app(url: str) -> Iterator[Celery]:
    with client(url) as app:
        yield app


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


def test_canvas(app: Celery, url: str, log: Path) -> None:
    add, total, fail = (app.tasks[name] for name in ("add", "total", "fail"))
    with worker(url, "-c", "2", log=log):
        assert chain(add.s(1, 2), add.s(3), add.s(4))().get(timeout=30) == 10
        assert chord((add.s(n, n) for n in range(5)), total.s())().get(timeout=30) == 20
        saved = group(add.s(n, 1) for n in range(3))()
        saved.save()
        assert saved.restore(saved.id, app=app).get(timeout=30) == [1, 2, 3]
        failed = chord([add.s(1, 1), fail.s("no")], total.s())()
        with pytest.raises(Exception, match="no"):
            failed.get(timeout=30)


def test_a_progress_bar(app: Celery, url: str, log: Path, tmp_path: Path) -> None:
    end = tmp_path / "end"
    with worker(url, "-P", "solo", log=log):
        result = app.tasks["report"].delay("PROGRESS", str(end))
        wait_for(lambda: result.state == "PROGRESS", "in progress")
        assert result.info == {"current": 1, "total": 2}
        end.touch()
        assert result.get(timeout=30) == "done"


def test_an_exception_comes_back_with_its_traceback(app: Celery, url: str, log: Path) -> None:
    with worker(url, "-P", "solo", log=log):
        result = app.tasks["fail"].delay("out of paper")
        with pytest.raises(ValueError, match="out of paper"):
            result.get(timeout=30)
    assert result.state == "FAILURE"
    assert "raise ValueError(message)" in (result.traceback or "")


@pytest.mark.parametrize("name", DATABASES)
def test_workers_store_in_the_database_of_the_users_choice(
    request: pytest.FixtureRequest, url: str, tmp_path: Path, name: str, log: Path
) -> None:
    """Its pool processes are forked, and use connections of their own."""
    backend_url = database_url(request, name, tmp_path)
    with client(backend_url, broker=url) as app:
        env = {BACKEND: backend_url}
        app.AsyncResult("before the fork").state  # noqa: B018 - opens the parent's connection
        with worker(url, "-c", "2", log=log, **env):
            results = [app.tasks["add"].delay(n, n) for n in range(40)]
            assert [result.get(timeout=30) for result in results] == [2 * n for n in range(40)]
            members = [app.tasks["add"].s(n, n) for n in range(10)]
            assert chord(members)(app.tasks["total"].s()).get(timeout=30) == 90


def test_a_wait_nobody_can_end_says_so_in_the_log(
    app: Celery, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.2)
    result = app.tasks["add"].apply_async((1, 2), queue="mail")
    with caplog.at_level(logging.WARNING), pytest.raises(TimeoutError):
        result.get(timeout=2.0)
    [line] = [record.getMessage() for record in caplog.records if result.id in record.getMessage()]
    assert "'mail'" in line
    assert "flask celery worker" in line


def test_a_wait_for_a_busy_worker_says_nothing(
    app: Celery,
    url: str,
    log: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.1)
    end = tmp_path / "end"
    with worker(url, "-P", "solo", log=log):
        busy = app.tasks["report"].delay("PROGRESS", str(end))
        wait_for(lambda: busy.state == "PROGRESS", "in progress")
        queued = app.tasks["add"].delay(1, 2)
        with pytest.raises(TimeoutError):
            queued.get(timeout=1.5)
        end.touch()
        assert queued.get(timeout=30) == 3
    assert caplog.records == []


def test_a_wait_says_nothing_of_a_broker_it_does_not_know(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results in our file, messages elsewhere."""
    monkeypatch.setattr(waiting, "PATIENCE", 0.1)
    with (
        client(sqlite.url_of(str(tmp_path / "results.db")), broker="memory://") as app,
        pytest.raises(TimeoutError),
    ):
        app.AsyncResult("elsewhere").get(timeout=1.5)
    assert caplog.records == []


def test_a_wait_in_a_process_with_many_open_files(app: Celery) -> None:
    """Descriptors above 1024 are beyond select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1200, hard), hard))
    descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(1050)]
    try:
        thread = threading.Timer(0.2, app.backend.store_result, ("one", 1, "SUCCESS"))
        thread.start()
        assert app.AsyncResult("one").get(timeout=20) == 1
        thread.join()
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_waiters_leave_no_file_behind(app: Celery, tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        app.AsyncResult("never").get(timeout=0.1)
    waiters = tmp_path / "celeriac.db.run" / "waiters"
    assert list(waiters.iterdir()) == []
