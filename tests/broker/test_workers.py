"""Real Celery workers on the embedded broker."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import psutil
import pytest
from celery import Celery, group
from celery.concurrency import solo
from celery.exceptions import TaskRevokedError
from kombu import pools

from flask_celeriac import sqlite
from tests.broker.conftest import Connect
from tests.broker.disk import fill_up
from tests.broker.messages import size
from tests.broker.names import SLOW_START
from tests.system.ledger import Ledger, Story
from tests.system.other import Other
from tests.system.tasks import LEASE, SOFT, client, make_app
from tests.system.workers import Worker, alive, wait_for, worker

pytestmark = pytest.mark.timeout(60)
#: prctl(2): the signal this process gets when its parent dies.
PR_GET_PDEATHSIG = 2
POOLS = ["prefork", "threads", "solo"]


@pytest.fixture
def app(url: str) -> Iterator[Celery]:
    with client(url) as app:
        yield app


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger"
    Ledger(path).close()
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


def started(ledger: Path, number: int) -> int:
    return len(Story.read(ledger).starts.get(number, []))


def ended(ledger: Path, number: int) -> int:
    return len(Story.read(ledger).ends.get(number, []))


@pytest.mark.parametrize("pool", POOLS)
def test_every_pool_runs_tasks(app: Celery, url: str, log: Path, pool: str) -> None:
    add = app.tasks["add"]
    with worker(url, "-P", pool, "-c", "2", log=log):
        results = [add.delay(number, number) for number in range(50)]
        assert [result.get(timeout=30) for result in results] == [2 * n for n in range(50)]
        assert group(add.s(n, 1) for n in range(5))().get(timeout=30) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("pool", POOLS)
def test_a_worker_rests_when_nothing_is_left_to_do(
    app: Celery, url: str, log: Path, pool: str
) -> None:
    with worker(url, "-P", pool, "-c", "1", log=log) as running:
        assert [app.tasks["add"].delay(1, 2).get(timeout=30) for _ in range(3)] == [3, 3, 3]
        main = psutil.Process(running.pid)
        # Percent of a core; one that polls without waiting has what the machine can give.
        wait_for(lambda: main.cpu_percent(interval=0.5) < 10, "at rest")


@pytest.mark.parametrize("pool", POOLS)
def test_a_queue_without_acknowledgements_beside_one_that_has_them(
    app: Celery, url: str, log: Path, ledger: Path, pool: str
) -> None:
    add, work = app.tasks["add"], app.tasks["work"]
    module = "tests.system.no_ack_app"
    with worker(url, "-P", pool, "-c", "1", log=log, ledger=ledger, module=module) as running:
        fast = [add.apply_async((n, n), queue="fast") for n in range(100)]
        assert [result.get(timeout=30) for result in fast] == [2 * n for n in range(100)]
        # With its only place taken, it goes on to take from the one, and leaves the other alone.
        ordinary = [work.delay(n, 2000 if n == 0 else 0) for n in range(20)]
        wait_for(lambda: started(ledger, 0), "started")
        if pool != "solo":  # which runs it there and then
            busy = psutil.Process(running.pid).cpu_percent(interval=1.0)
            assert busy < 30, f"{busy} % of a core for nothing"
        fast = [add.apply_async((n, 1), queue="fast") for n in range(10)]
        assert [result.get(timeout=30) for result in fast] == [n + 1 for n in range(10)]
        assert [result.get(timeout=30) for result in ordinary] == [2 * n for n in range(20)]
    assert "taken from this worker" not in running.output()


def test_a_worker_that_was_taken_for_dead_ends(
    app: Celery, url: str, log: Path, path: str, ledger: Path
) -> None:
    """As when somebody has cleaned up the directory of the locks."""
    with worker(url, "-P", "prefork", "-c", "1", log=log, ledger=ledger) as running:
        first = app.tasks["work"].delay(1, 600)
        wait_for(lambda: started(ledger, 1), "started")
        with sqlite.file_at(path).connection() as db:
            db.execute("DELETE FROM process")
        assert running.wait(30) == 1
        assert "took this process for dead" in running.output()
    with worker(url, "-P", "prefork", "-c", "1", log=log, ledger=ledger):
        assert first.get(timeout=50) == 2  # nobody's claim has come back


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_where_to_reply_may_be_anything(app: Celery, url: str, log: Path, pool: str) -> None:
    add, odd = app.tasks["add"], [5, ["a"], {"a": 1}, "../../x", "x" * 5000, "", "\0", "ö"]
    with worker(url, "-P", pool, "-c", "1", log=log) as running:
        sent = [add.apply_async((n, 1), reply_to=value) for n, value in enumerate(odd)]
        assert [result.get(timeout=30) for result in sent] == [n + 1 for n in range(len(odd))]
        assert add.delay(1, 2).get(timeout=30) == 3
    assert "Traceback" not in running.output()


def test_two_workers_share_a_queue(app: Celery, url: str, tmp_path: Path) -> None:
    with (
        worker(url, "-P", "solo", "-n", "one@%h", log=tmp_path / "one.log") as one,
        worker(url, "-P", "solo", "-n", "two@%h", log=tmp_path / "two.log") as two,
    ):
        seen: set[int] = set()
        for _ in range(200):
            results = [app.tasks["pid"].delay() for _ in range(10)]
            seen |= {result.get(timeout=30) for result in results}
            if len(seen) == 2:
                break
        assert seen == {one.pid, two.pid}


def test_a_worker_takes_only_its_queues(app: Celery, url: str, log: Path, connect: Connect) -> None:
    with worker(url, "-P", "solo", "-Q", "mail,images", log=log):
        theirs = app.tasks["add"].apply_async((1, 1))
        mail = app.tasks["add"].apply_async((1, 2), queue="mail")
        images = app.tasks["add"].apply_async((1, 3), queue="images")
        assert mail.get(timeout=30) == 3
        assert images.get(timeout=30) == 4
        assert theirs.state == "PENDING"
        assert size(connect(), "celery") == 1


def test_a_worker_can_be_given_a_queue_while_it_runs(app: Celery, url: str, log: Path) -> None:
    with worker(url, "-P", "solo", log=log):
        result = app.tasks["add"].apply_async((2, 3), queue="late")
        app.control.add_consumer("late", reply=True)
        assert result.get(timeout=30) == 5
        app.control.cancel_consumer("late", reply=True)
        queues = app.control.inspect().active_queues() or {}
        assert [[queue["name"] for queue in of] for of in queues.values()] == [["celery"]]


def test_the_more_urgent_task_runs_first(app: Celery, url: str, log: Path, ledger: Path) -> None:
    for priority in (0, 3, 9, 6):
        app.tasks["work"].apply_async((priority, 0), priority=priority)
    with worker(url, "-P", "solo", log=log, ledger=ledger):
        wait_for(lambda: ended(ledger, 0), "the last has ended")
    moments = {n: lines[0].moment for n, lines in Story.read(ledger).starts.items()}
    assert sorted(moments, key=lambda number: moments[number]) == [9, 6, 3, 0]


@pytest.mark.parametrize("pool", POOLS)
def test_inspect(app: Celery, url: str, log: Path, pool: str) -> None:
    with worker(url, "-P", pool, "-n", "here@test", log=log):
        inspect = app.control.inspect(["here@test"])
        assert inspect.ping() == {"here@test": {"ok": "pong"}}
        assert inspect.ping() == {"here@test": {"ok": "pong"}}
        stats = (inspect.stats() or {})["here@test"]
        assert stats["broker"]["transport"] == "celeriac"
        assert "add" in (inspect.registered() or {})["here@test"]
        assert inspect.active() == {"here@test": []}
        assert inspect.reserved() == {"here@test": []}
        assert inspect.scheduled() == {"here@test": []}
        assert app.control.inspect(["nobody@test"], timeout=0.3).ping() is None


def test_two_processes_may_inspect_at_once(app: Celery, url: str, log: Path) -> None:
    answers: list[object] = []
    with worker(url, "-P", "solo", "-n", "here@test", log=log):
        threads = [
            threading.Thread(target=lambda: answers.append(app.control.ping())) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [[{"here@test": {"ok": "pong"}}]] * 4


def test_reply_queues_disappear(app: Celery, url: str, log: Path, path: str) -> None:
    with worker(url, "-P", "solo", "-n", "here@test", log=log):
        for _ in range(3):
            assert app.control.inspect(["here@test"]).ping()
        assert reply_queues(path) == []


def reply_queues(path: str) -> list[str]:
    with sqlite.file_at(path).connection() as db:
        rows = db.execute(
            "SELECT name FROM queue UNION SELECT queue FROM binding UNION SELECT queue FROM message"
        ).fetchall()
    return [name for (name,) in rows if "reply" in name]


def test_a_worker_leaves_nothing_of_its_own_in_the_file(
    app: Celery, url: str, log: Path, path: str
) -> None:
    with worker(url, "-E", "-n", "here@test", log=log):
        assert app.control.inspect(["here@test"]).ping()
        app.tasks["add"].delay(1, 2).get(timeout=30)
    pools.reset()
    with sqlite.file_at(path).connection() as db:
        queues = db.execute("SELECT name FROM queue").fetchall()
        others = [
            db.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
            for table in ("process", "consumer", "message")
        ]
    assert queues == [("celery",)]
    assert others == [0, 0, 0]
    left = [file for name in ("bells", "locks") for file in Path(path + ".run", name).iterdir()]
    assert left == []


@pytest.mark.parametrize("pool", POOLS)
def test_a_revoked_task_never_runs(
    app: Celery, url: str, log: Path, ledger: Path, pool: str
) -> None:
    with worker(url, "-P", pool, "-c", "1", log=log, ledger=ledger):
        busy = app.tasks["work"].delay(1, 1500)
        wait_for(lambda: started(ledger, 1), "started")
        queued = app.tasks["work"].delay(2, 0)
        queued.revoke()
        last = app.tasks["work"].delay(3, 0)
        assert busy.get(timeout=30) == 2
        with pytest.raises(TaskRevokedError):
            queued.get(timeout=30)
        assert last.get(timeout=30) == 6
        assert queued.state == "REVOKED"
    assert started(ledger, 2) == 0


def test_a_running_task_is_revoked_and_terminated(
    app: Celery, url: str, log: Path, ledger: Path, connect: Connect
) -> None:
    with worker(url, "-c", "1", log=log, ledger=ledger):
        long = app.tasks["work"].delay(1, 60_000)
        wait_for(lambda: started(ledger, 1), "started")
        long.revoke(terminate=True)
        with pytest.raises(TaskRevokedError):
            long.get(timeout=30)
        assert app.tasks["work"].delay(2, 0).get(timeout=30) == 4
        assert size(connect(), "celery") == 0
    assert started(ledger, 1) == 1
    assert ended(ledger, 1) == 0


def test_a_time_limit_ends_a_task_for_good(
    app: Celery, url: str, log: Path, ledger: Path, connect: Connect
) -> None:
    from celery.exceptions import TimeLimitExceeded

    with worker(url, "-c", "1", log=log, ledger=ledger):
        long = app.tasks["work"].apply_async((1, 60_000), time_limit=1)
        with pytest.raises(TimeLimitExceeded):
            long.get(timeout=30)
        assert app.tasks["work"].delay(2, 0).get(timeout=30) == 4
        assert size(connect(), "celery") == 0
    assert started(ledger, 1) == 1


def test_events_reach_a_receiver(app: Celery, url: str, log: Path) -> None:
    seen: list[str] = []

    def note(event: dict[str, object]) -> None:
        seen.append(str(event["type"]))

    with worker(url, "-E", "-P", "solo", log=log), app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": note})
        with receiver.consumer_context() as (consuming, _, _):
            app.tasks["add"].delay(1, 2).get(timeout=30)
            end = time.monotonic() + 20
            while "task-succeeded" not in seen and time.monotonic() < end:
                consuming.drain_events(timeout=5)
    assert [kind for kind in seen if kind.startswith("task-")] == [
        "task-received",
        "task-started",
        "task-succeeded",
    ]


def test_purge(app: Celery, url: str, log: Path) -> None:
    for number in range(20):
        app.tasks["add"].delay(number, number)
    app.tasks["add"].apply_async((1, 1), countdown=60)
    assert app.control.purge() == 21
    with worker(url, "-P", "solo", log=log):
        assert app.tasks["add"].delay(1, 1).get(timeout=30) == 2


@pytest.mark.parametrize("pool", POOLS)
def test_a_countdown_is_kept_and_holds_nobody_up(
    app: Celery, url: str, log: Path, ledger: Path, pool: str
) -> None:
    with worker(url, "-P", pool, "-c", "1", log=log, ledger=ledger):
        before = datetime.now(timezone.utc)
        later = [app.tasks["work"].apply_async((n, 0), countdown=1.0) for n in range(20)]
        assert app.tasks["work"].delay(100, 0).get(timeout=30) == 200
        assert [result.get(timeout=30) for result in later] == [2 * n for n in range(20)]
        assert (datetime.now(timezone.utc) - before).total_seconds() >= 1.0
    assert Story.read(ledger).starts[0][0].moment > Story.read(ledger).ends[100][0].moment


def test_retries_with_a_countdown(app: Celery, url: str, log: Path) -> None:
    with worker(url, "-P", "solo", log=log):
        assert app.tasks["flaky"].delay(3).get(timeout=30) == 3
        with pytest.raises(RuntimeError, match="not yet"):
            app.tasks["flaky"].delay(4).get(timeout=30)


@pytest.mark.parametrize("pool", POOLS)
def test_a_warm_shutdown_lets_the_task_end_and_gives_the_rest_back(
    app: Celery, url: str, log: Path, ledger: Path, connect: Connect, pool: str
) -> None:
    with worker(url, "-P", pool, "-c", "1", log=log, ledger=ledger) as running:
        results = [app.tasks["work"].delay(number, 1500) for number in range(3)]
        wait_for(lambda: started(ledger, 0), "started")
        running.stop(signal.SIGTERM)
    done = sum(ended(ledger, number) for number in range(3))
    assert ended(ledger, 0) == 1
    assert results[0].state == "SUCCESS"
    assert size(connect(), "celery") == 3 - done
    with worker(url, "-P", pool, "-c", "1", log=log, ledger=ledger):
        assert [result.get(timeout=30) for result in results] == [0, 2, 4]
    assert [started(ledger, number) for number in range(3)] == [1, 1, 1]


def test_a_cold_shutdown_gives_back_what_ran(
    app: Celery, url: str, log: Path, ledger: Path, connect: Connect
) -> None:
    with worker(url, "-c", "2", log=log, ledger=ledger) as running:
        results = [app.tasks["work"].delay(number, 3000) for number in range(3)]
        wait_for(lambda: started(ledger, 0) and started(ledger, 1), "started")
        running.stop(signal.SIGQUIT)
    done = sum(ended(ledger, number) for number in range(3))
    assert size(connect(), "celery") == 3 - done
    with worker(url, "-c", "3", log=log, ledger=ledger):
        assert [result.get(timeout=30) for result in results] == [0, 2, 4]
    assert Story.read(ledger).overlaps() == []


@pytest.mark.parametrize("attempt", range(4))
def test_a_cold_shutdown_ends_in_whatever_it_comes(
    app: Celery, url: str, log: Path, ledger: Path, connect: Connect, attempt: int
) -> None:
    """Also as a task is given to a process: on one processor, the other's first act comes then."""
    with worker(url, "-c", "2", log=log, ledger=ledger) as running:
        for process in (psutil.Process(running.pid), *psutil.Process(running.pid).children()):
            process.cpu_affinity([attempt % (os.cpu_count() or 1)])
        for number in range(3):
            app.tasks["stops"].delay(number, 1000)
        running.wait(20)
    done = sum(ended(ledger, number) for number in range(3))
    assert size(connect(), "celery") == 3 - done


def test_a_solo_worker_that_is_stopped_at_once_gives_its_task_back(
    app: Celery, url: str, log: Path, ledger: Path, connect: Connect
) -> None:
    """Though the signal comes in the middle of it, in the same thread."""
    with worker(url, "-P", "solo", log=log, ledger=ledger, **{SOFT: "0.3"}) as running:
        result = app.tasks["work"].delay(0, 5000)
        wait_for(lambda: started(ledger, 0), "started")
        running.stop(signal.SIGQUIT)
    assert size(connect(), "celery") == 1
    assert result.state == "PENDING"
    assert ended(ledger, 0) == 0


def test_a_new_process_for_each_task(app: Celery, url: str, log: Path, path: str) -> None:
    with worker(url, "-c", "2", "--max-tasks-per-child", "1", log=log) as running:
        results = [app.tasks["pid"].delay() for _ in range(30)]
        pids = [result.get(timeout=50) for result in results]
        assert len(set(pids)) == 30
        assert app.control.ping(timeout=5)
        running.stop()
    assert not any(alive(pid) for pid in pids)


def test_a_killed_pool_process_costs_nothing_but_a_second_run(
    app: Celery, url: str, log: Path, ledger: Path
) -> None:
    with worker(url, "-c", "2", log=log, ledger=ledger) as running:
        result = app.tasks["work"].delay(1, 1000)
        wait_for(lambda: started(ledger, 1), "started")
        os.kill(Story.read(ledger).starts[1][0].pid, signal.SIGKILL)
        assert result.get(timeout=30) == 2
        assert running.process.exitcode is None
    assert started(ledger, 1) == 2
    assert ended(ledger, 1) == 1


def test_a_killed_worker_takes_its_pool_along(
    app: Celery, url: str, log: Path, ledger: Path
) -> None:
    """A pool process that went on would run the task beside the one that runs it again."""
    running = Worker(url, "-c", "2", log=log, ledger=ledger).wait_ready()
    try:
        app.tasks["work"].delay(1, 30_000)
        wait_for(lambda: started(ledger, 1), "started")
        children = running.children()
        assert len(children) == 2
        running.kill(group=False)
        running.wait()
        wait_for(lambda: not any(alive(pid) for pid in children), "pool processes ended")
    finally:
        running.end()


def test_a_pool_process_that_starts_while_its_worker_dies_ends_too(
    url: str, tmp_path: Path, log: Path
) -> None:
    """In a user's slow `worker_process_init`, before ours."""
    here = tmp_path / "here"
    starting = Worker(
        url, "-c", "2", log=log, module="tests.broker.slow_start", **{SLOW_START: str(here)}
    )
    try:
        wait_for(here.exists, "a pool process has begun")
        children = starting.children()
        assert children
        starting.kill(group=False)
        starting.wait()
        wait_for(lambda: not any(alive(pid) for pid in children), "pool processes ended", 15)
    finally:
        starting.end()


def say_when_it_ends(url: str, pipe: Pipe) -> None:
    """Start the pool of a solo worker, and ask prctl(2) what this process is sent by the kernel."""
    number = ctypes.c_int(-1)
    solo.TaskPool(app=make_app(url))
    ctypes.CDLL(None).prctl(PR_GET_PDEATHSIG, ctypes.byref(number), 0, 0, 0)
    pipe.send(number.value)


def test_a_solo_worker_outlives_the_shell_that_started_it(url: str) -> None:
    with Other(say_when_it_ends, url) as other:
        assert other.receive() == 0


@pytest.mark.parametrize("pool", POOLS)
def test_a_killed_workers_task_runs_again_elsewhere(
    app: Celery, url: str, tmp_path: Path, ledger: Path, pool: str
) -> None:
    options = ("-P", pool, "-c", "1")
    victim = Worker(url, *options, "-n", "a@%h", log=tmp_path / "a.log", ledger=ledger)
    try:
        victim.wait_ready()
        result = app.tasks["work"].delay(1, 2500)  # longer than another worker takes to start
        wait_for(lambda: started(ledger, 1), "started")
        with worker(url, *options, "-n", "b@%h", log=tmp_path / "b.log", ledger=ledger):
            victim.kill()
            assert result.get(timeout=20) == 2
    finally:
        victim.end()
    assert started(ledger, 1) == 2
    assert ended(ledger, 1) == 1


def test_a_stopped_workers_late_ack_and_result_count_for_nothing(
    app: Celery, url: str, tmp_path: Path, ledger: Path, connect: Connect
) -> None:
    """Stopped for longer than its lease, while its task was waiting to be acknowledged."""
    log = tmp_path / "a.log"
    with worker(
        url, "-P", "solo", "-n", "a@%h", log=log, ledger=ledger, **{LEASE: "1.0"}
    ) as stopped:
        result = app.tasks["work"].delay(1, 500)
        wait_for(lambda: started(ledger, 1), "started")
        os.kill(stopped.pid, signal.SIGSTOP)
        other = Worker(url, "-P", "solo", "-n", "b@%h", log=tmp_path / "b.log", ledger=ledger)
        try:
            wait_for(lambda: started(ledger, 1) == 2, "started by the other")
            assert result.get(timeout=20) == 2
            os.kill(stopped.pid, signal.SIGCONT)
            wait_for(lambda: ended(ledger, 1) == 2, "ended by the stopped one too")
            assert app.tasks["add"].delay(1, 2).get(timeout=20) == 3
            wait_for(lambda: "was taken from this worker" in log.read_text(), "said so")
        finally:
            other.stop()
    assert result.get(timeout=5) == 2
    assert size(connect(), "celery") == 0


@pytest.mark.parametrize("pool", POOLS)
def test_a_task_that_succeeded_is_not_run_again(
    app: Celery, url: str, path: str, log: Path, ledger: Path, pool: str
) -> None:
    """Its worker was killed after the result was stored and before the message was deleted."""
    result = app.tasks["work"].delay(1, 0)
    with sqlite.file_at(path).transaction() as db:
        db.execute("CREATE TABLE kept AS SELECT * FROM message")
    with worker(url, "-P", pool, "-c", "1", log=log, ledger=ledger):
        assert result.get(timeout=30) == 2
        wait_for(lambda: count(path) == 0, "acknowledged")
        with sqlite.file_at(path).transaction() as db:
            db.execute("UPDATE kept SET claims = 1")
            db.execute("INSERT INTO message SELECT * FROM kept")
        app.tasks["work"].delay(2, 0).get(timeout=30)  # rings
        wait_for(lambda: count(path) == 0, "acknowledged again")
    assert started(ledger, 1) == 1
    assert result.get(timeout=5) == 2


def count(path: str) -> int:
    with sqlite.file_at(path).connection() as db:
        return int(db.execute("SELECT count(*) FROM message").fetchone()[0])


@pytest.mark.parametrize("pool", POOLS)
def test_a_long_task_is_never_taken_from_a_healthy_worker(
    app: Celery, url: str, tmp_path: Path, ledger: Path, pool: str
) -> None:
    lease = {LEASE: "1.0"}
    options = ("-P", pool, "-c", "1")
    with (
        worker(url, *options, "-n", "a@%h", log=tmp_path / "a.log", ledger=ledger, **lease),
        worker(url, *options, "-n", "b@%h", log=tmp_path / "b.log", ledger=ledger, **lease),
    ):
        assert app.tasks["work"].delay(1, 4000).get(timeout=30) == 2
    assert started(ledger, 1) == 1


def test_remote_shutdown(app: Celery, url: str, log: Path) -> None:
    with worker(url, "-P", "solo", log=log) as running:
        app.control.shutdown()
        assert running.wait() == 0


def test_an_expired_task_does_not_run(app: Celery, url: str, log: Path, ledger: Path) -> None:
    result = app.tasks["work"].apply_async((1, 0), expires=0.2)
    time.sleep(0.3)
    with worker(url, "-P", "solo", log=log, ledger=ledger), pytest.raises(TaskRevokedError):
        result.get(timeout=30)
    assert started(ledger, 1) == 0


@pytest.mark.parametrize("small_disk", [40], indirect=True)
@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_outlives_a_full_disk(
    small_disk: Path, log: Path, ledger: Path, pool: str
) -> None:
    """Acks and results wait for room; nothing is lost and nothing runs again."""
    url = sqlite.url_of(str(small_disk / "celeriac.db"))
    with (
        client(url) as app,
        worker(url, "-P", pool, "-c", "2", log=log, ledger=ledger),
    ):
        results = [app.tasks["work"].delay(number, 300) for number in range(6)]
        results.append(app.tasks["work"].apply_async((6, 0), countdown=0.5))
        wait_for(lambda: started(ledger, 0), "started")
        filler = fill_up(small_disk)
        wait_for(lambda: "disk is full" in log.read_text() or "Retrying" in log.read_text(), "full")
        time.sleep(1.5)
        filler.unlink()
        assert [result.get(timeout=30) for result in results] == [2 * n for n in range(7)]
    # About once a second, not as fast as it can: what is due by then does not press.
    assert log.read_text().count("trying again") < 50
    assert [started(ledger, number) for number in range(7)] == [1] * 7
