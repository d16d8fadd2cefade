"""Waiting for results where a worker runs, or does not."""

from __future__ import annotations

import gc
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
from flask_celeriac.records import reply_bell, waiting
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


@pytest.fixture
def rung_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks for a result who was not rung for it, by the bell that they wait for first."""
    monkeypatch.setattr(waiting, "BRIEF", 60.0)
    monkeypatch.setattr(waiting, "FALLBACK", 60.0)


@pytest.mark.usefixtures("rung_alone")
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_thread_that_waits_often_keeps_its_bell(
    app: Celery, url: str, log: Path, tmp_path: Path, pool: str
) -> None:
    add, fail = app.tasks["add"], app.tasks["fail"]
    waiters = tmp_path / "celeriac.db.run" / "waiters"
    with worker(url, "-P", pool, "-c", "2", log=log):
        assert [add.delay(n, 1).get(timeout=40) for n in range(10)] == list(range(1, 11))
        [kept] = waiters.iterdir()
        # Of a failure the worker says more, and of what had links or retries.
        for _ in range(3):
            with pytest.raises(ValueError, match="no paper"):
                fail.delay("no paper").get(timeout=40)
        linked = [add.apply_async((n, 1), link=add.s(1)).get(timeout=40) for n in range(3)]
        assert linked == [1, 2, 3]
        assert list(waiters.iterdir()) == [kept]


def test_what_one_wait_heard_is_not_lost_to_the_next(app: Celery, url: str, log: Path) -> None:
    add = app.tasks["add"]
    with worker(url, "-P", "solo", log=log):
        for _ in range(3):
            add.delay(0, 0).get(timeout=30)
        first, second = add.delay(1, 1), add.delay(2, 2)
        wait_for(lambda: second.state == "SUCCESS", "both have rung")
        assert first.get(timeout=30) == 2
        assert second.get(timeout=30) == 4


def test_the_end_of_a_task_that_nobody_rings_for_is_seen(app: Celery) -> None:
    """As where its record is written by somebody who has no request."""
    add = app.tasks["add"]
    for number in range(4):
        result = add.delay(number, 1)
        thread = threading.Timer(0.1, app.backend.store_result, (result.id, number, "SUCCESS"))
        thread.start()
        assert result.get(timeout=20) == number
        thread.join()


def test_the_bell_of_a_thread_goes_with_it(
    app: Celery, url: str, log: Path, tmp_path: Path
) -> None:
    add, found = app.tasks["add"], list[int]()
    waiters = tmp_path / "celeriac.db.run" / "waiters"

    def call() -> None:
        found.extend(add.delay(n, n).get(timeout=30) for n in range(3))
        found.append(len(list(waiters.iterdir())))

    with worker(url, "-P", "solo", log=log):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert found == [0, 2, 4, 1]
        assert list(waiters.iterdir()) == []


def test_each_thread_has_a_bell_up_to_a_number(
    app: Celery, url: str, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()  # those of earlier applications
    monkeypatch.setattr(reply_bell, "MOST", len(reply_bell._kept) + 3)
    add, found = app.tasks["add"], list[int]()
    waiters = tmp_path / "celeriac.db.run" / "waiters"
    leave = threading.Event()

    def call(number: int, done: threading.Event) -> None:
        found.extend(add.delay(number, n).get(timeout=30) for n in range(3))
        done.set()
        leave.wait(30)

    with worker(url, "-P", "solo", log=log):
        threads = []
        for number in range(0, 50, 10):
            done = threading.Event()
            threads.append(threading.Thread(target=call, args=(number, done)))
            threads[-1].start()
            assert done.wait(30)
        kept = len(list(waiters.iterdir()))
        leave.set()
        for thread in threads:
            thread.join()
    assert kept == 3
    assert sorted(found) == [number + n for number in range(0, 50, 10) for n in range(3)]


def test_a_forked_process_waits_without_its_parents_bell(
    app: Celery, url: str, log: Path, tmp_path: Path
) -> None:
    add = app.tasks["add"]
    with worker(url, "-P", "solo", log=log):
        assert [add.delay(n, n).get(timeout=30) for n in range(3)] == [0, 2, 4]
        [kept] = (tmp_path / "celeriac.db.run" / "waiters").iterdir()
        child = os.fork()
        if child == 0:
            try:
                right = [add.delay(n, n).get(timeout=30) for n in range(5)] == [0, 2, 4, 6, 8]
                os._exit(0 if right and kept.exists() else 1)
            except BaseException:  # noqa: BLE001 - else two processes would run the tests
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [add.delay(n, n).get(timeout=30) for n in range(3)] == [0, 2, 4]
        assert kept.exists()


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
