"""A worker is killed, stopped or cut off: its tasks run again, soon and once at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from celery import Celery
from kombu import pools

from tests.broker.redis.apps import OPTIONS, STOCK, make_ours, make_stocks
from tests.broker.redis.own_server import OwnServer
from tests.system.ledger import Ledger, Story
from tests.system.workers import Worker, alive, wait_for

LEASE = 2
#: Seconds to wait for what takes a lease and a little more.
LONG = 60.0

Start = Callable[..., Worker]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger"
    Ledger(path).close()
    return path


@pytest.fixture
def start(tmp_path: Path, ledger: Path) -> Iterator[Start]:
    """Starts workers; none is left at the end."""
    workers: list[Worker] = []

    def start(url: str, *options: str, stock: bool = False, **transport: Any) -> Worker:
        name = f"w{len(workers)}"
        env = {OPTIONS: json.dumps({"lease": LEASE, **transport})}
        if stock:
            env = {OPTIONS: json.dumps(transport), STOCK: "1"}
        worker = Worker(
            url, "-n", name, "--without-mingle", *options,
            log=tmp_path / f"{name}.log", ledger=ledger, module="tests.broker.redis.app", **env,
        )  # fmt: skip
        workers.append(worker)
        return worker.wait_ready()

    yield start
    for worker in workers:
        worker.end()


@contextmanager
def sender(app: Celery) -> Iterator[Celery]:
    try:
        yield app
    finally:
        app.close()
        pools.reset()


@pytest.fixture
def ours(redis_url: str) -> Iterator[Celery]:
    with sender(make_ours(redis_url)) as app:
        yield app


def send(app: Celery, number: int, milliseconds: float, **options: Any) -> None:
    app.send_task("work", (number, milliseconds), **options)


def started(ledger: Path, count: int) -> list[int]:
    """The processes in which tasks began, once that many did."""

    def pids() -> list[int]:
        lines = [line for lines in Story.read(ledger).starts.values() for line in lines]
        return [line.pid for line in sorted(lines, key=lambda line: line.moment)]

    return wait_for(lambda: found if len(found := pids()) >= count else [], "starts", LONG)


def ended(ledger: Path, *numbers: int) -> Story:
    wait_for(lambda: set(numbers) <= Story.read(ledger).ends.keys(), "ends", LONG)
    return Story.read(ledger)


def settled(server: redis.Redis) -> None:
    wait_for(lambda: not server.exists("unacked", "unacked_index", "celery"), "nothing is out")


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_killed_workers_tasks_run_again(
    ours: Celery, redis_url: str, server: redis.Redis, start: Start, ledger: Path, pool: str
) -> None:
    count = 2 if pool == "prefork" else 1
    victim = start(redis_url, "-P", pool, "-c", "2")
    for number in range(count):
        ours.send_task("survive", (number,))
    pids = started(ledger, count)
    victim.kill(group=False)
    victim.wait()
    wait_for(lambda: not any(alive(pid) for pid in pids), "its processes have ended with it")
    start(redis_url, "-P", pool, "-c", "2").wait_ready()
    story = ended(ledger, *range(count))
    assert story.duplicates == count
    settled(server)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_stopped_worker_loses_its_tasks_and_starts_none_of_them(
    ours: Celery, redis_url: str, server: redis.Redis, start: Start, ledger: Path
) -> None:
    stopped = start(redis_url, "-c", "1")
    send(ours, 2, 0, countdown=3)
    wait_for(lambda: server.hlen("unacked"), "it waits in the worker")
    send(ours, 1, 1000)
    [pid] = started(ledger, 1)
    children = psutil.Process(stopped.pid).children()
    for process in (*children, psutil.Process(stopped.pid)):
        process.suspend()
    other = start(redis_url, "-c", "1")
    story = ended(ledger, 1, 2)
    assert {line.pid for line in story.ends[1]}.isdisjoint({pid})
    for process in (psutil.Process(stopped.pid), *children):
        process.resume()
    wait_for(lambda: "given to others" in stopped.output(), "it noticed")
    wait_for(lambda: len(Story.read(ledger).ends[1]) == 2, "what ran came to its end")
    settled(server)
    send(ours, 3, 0)
    send(ours, 4, 0)
    story = ended(ledger, 3, 4)
    assert len(story.starts[2]) == 1
    for worker in (stopped, other):
        worker.stop()
    assert len(Story.read(ledger).starts[1]) == 2
    settled(server)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_neither_long_tasks_nor_far_dates_run_twice(
    ours: Celery, redis_url: str, server: redis.Redis, start: Start, ledger: Path
) -> None:
    often = {"visibility_timeout": 2, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    start(redis_url, "-P", "solo", **often)
    send(ours, 2, 0, countdown=5)
    wait_for(lambda: server.hlen("unacked"), "it waits in the worker")
    send(ours, 1, 5_000)
    started(ledger, 1)
    start(redis_url, "-P", "solo", stock=True, **often)
    start(redis_url, "-P", "solo", **often)
    story = ended(ledger, 1, 2)
    settled(server)
    assert story.duplicates == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_server_is_killed_and_comes_back(
    own_server: OwnServer, start: Start, ledger: Path
) -> None:
    worker = start(own_server.url, "-c", "2")
    with sender(make_ours(own_server.url)) as app, own_server.client() as server:
        send(app, 1, 4_000)
        send(app, 2, 60, countdown=1)
        started(ledger, 1)
        for number in range(3, 60):
            send(app, number, 1)
        own_server.kill()
        time.sleep(LEASE + 1)  # longer than the lease: all are overdue at once when it is back
        own_server.start()
        for number in range(60, 70):
            send(app, number, 1)
        story = ended(ledger, *range(1, 70))
        settled(server)
        assert len(story.starts[1]) == 1
        worker.stop()
        assert not server.exists("celeriac.workers")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    process = psutil.Process(pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_what_ends_while_the_server_is_away_is_acknowledged_later(
    own_server: OwnServer, start: Start, ledger: Path, tmp_path: Path, pool: str
) -> None:
    worker = start(own_server.url, "-P", pool, "-c", "1", "--prefetch-multiplier", "2")
    go = tmp_path / "go"

    def end() -> None:
        go.touch()
        ended(ledger, 1)

    with sender(make_ours(own_server.url)) as app, own_server.client() as server:
        app.send_task("hold", (1, str(go)))
        started(ledger, 1)
        if pool == "solo":  # which learns of nothing while it runs a task
            own_server.kill()
            end()
        elif pool == "threads":  # whose loop is not woken by a task that ends
            end()
            own_server.kill()
        else:  # which learns of both at once
            app.send_task("hold", (2, str(go)))
            wait_for(lambda: server.hlen("unacked") == 2, "the second one waits in the worker")
            with stopped(worker.pid):
                end()
                own_server.kill()
        wait_for(lambda: "Cannot connect to redis" in worker.output(), "it tries again", LONG)
        own_server.start()
        if pool != "prefork":
            app.send_task("hold", (2, str(go)))
        story = ended(ledger, 1, 2)
        settled(server)
        assert story.duplicates == 0
        assert "crash" not in ledger.read_text()
        worker.stop()
        assert not server.exists("celeriac.workers")


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_worker_that_is_stopped_does_not_wait_for_a_server_that_is_away(
    own_server: OwnServer, start: Start, ledger: Path, tmp_path: Path, pool: str
) -> None:
    worker = start(own_server.url, "-P", pool, "-c", "1")
    go = tmp_path / "go"
    with sender(make_ours(own_server.url)) as app:
        app.send_task("hold", (1, str(go)))
        started(ledger, 1)
        own_server.kill()
        go.touch()
        ended(ledger, 1)
        wait_for(lambda: "Cannot connect to redis" in worker.output(), "it tries again", LONG)
    assert worker.stop() == 0
    assert "was not told that 1 task(s) have ended" in worker.output()


def test_a_server_that_refuses_to_write_is_waited_for(
    own_server: OwnServer, start: Start, ledger: Path
) -> None:
    worker = start(own_server.url, "-P", "solo")
    with sender(make_ours(own_server.url)) as app, own_server.client() as server:
        server.config_set("min-replicas-to-write", 1)
        wait_for(lambda: "Redis refuses" in worker.output(), "it says so")
        server.config_set("min-replicas-to-write", 0)
        send(app, 1, 0)
        ended(ledger, 1)
        settled(server)


def test_tasks_are_shared_with_stock_workers(
    ours: Celery, redis_url: str, server: redis.Redis, start: Start, ledger: Path
) -> None:
    stocks = start(redis_url, "-P", "solo", stock=True)
    for number in range(3):
        send(ours, number, 0)
    ended(ledger, *range(3))
    stocks.stop()
    mine = start(redis_url, "-P", "solo")
    with sender(make_stocks(redis_url)) as app:
        for number in range(3, 6):
            send(app, number, 0)
        story = ended(ledger, *range(3, 6))
    assert {line.pid for number in range(3) for line in story.ends[number]} == {stocks.pid}
    assert {line.pid for number in range(3, 6) for line in story.ends[number]} == {mine.pid}
    mine.stop()
    settled(server)
