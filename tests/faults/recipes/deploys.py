"""T21, T22, T23: workers that are stopped and replaced, tasks that are taken back meanwhile."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import replace

from tests.faults.harness.session import CONCURRENCY, Session, Slow
from tests.faults.recipes.kills import busy_worker

#: How a worker is stopped: signals, and the seconds before each.
STOPS: tuple[tuple[tuple[float, signal.Signals], ...], ...] = (
    ((0, signal.SIGTERM),),
    ((0, signal.SIGINT),),
    ((0, signal.SIGQUIT),),
    ((0, signal.SIGINT), (0.3, signal.SIGINT)),
    ((0, signal.SIGTERM), (0.3, signal.SIGQUIT)),
    ((0, signal.SIGTERM), (1.0, signal.SIGKILL)),
    ((0, signal.SIGQUIT), (1.0, signal.SIGKILL)),
)


def shutdowns(session: Session, scale: float) -> None:
    """T21: every way to stop a worker, while short, long and later tasks are held."""
    rounds = max(1, round(10 * scale))
    stops = [stop for _ in range(rounds) for stop in STOPS]
    session.chance.shuffle(stops)
    seconds = 5 * len(stops)
    session.produce(seconds * 10, 50.0, rate=10)
    session.produce(seconds // 2, 3000.0, rate=0.5, first=100_000)
    session.produce(seconds, 50.0, rate=1, first=200_000, countdown=4)
    for stop in stops:
        session.start_worker()
        try:
            worker = busy_worker(session, 20)
            due = time.monotonic() + session.chance.uniform(0.5, 2.0)
            session.wait(lambda: time.monotonic() > due, "it is time", 5)  # noqa: B023 - at once
        except Slow:
            break
        session.outages += 1
        _stop(session, worker, stop)
        session.workers.remove(worker)
    session.start_worker()


def _stop(session: Session, worker: object, stop: Sequence[tuple[float, signal.Signals]]) -> None:
    from tests.faults.harness.zygote import Process

    assert isinstance(worker, Process)
    for seconds, number in stop:
        due = time.monotonic() + seconds
        session.wait(lambda: not worker.alive or time.monotonic() >= due, "", seconds + 5)  # noqa: B023
        if worker.alive:
            worker.signal(number, group=number is signal.SIGKILL)
            if number is not signal.SIGTERM:
                session.excused += CONCURRENCY
    session.wait(lambda: not worker.alive, "a worker stops", 60)
    session.follow()
    for line in session.busy(worker):
        session.running.pop((line.number, line.pid), None)


def revocations(session: Session, scale: float) -> None:
    """T22: tasks that wait, or have a date, are taken back while no worker is there."""
    count = max(40, round(2000 * scale))
    session.produce(count, 5.0)
    session.produce(count // 4, 5.0, first=100_000, countdown=6)
    session.wait(lambda: not session.producing, "all are sent")
    numbers = sorted(session.account.acked)
    session.revoked = set(session.chance.sample(numbers, len(numbers) // 2))
    session.run("revoke", session.seed, sorted(session.revoked))
    session.outages = len(session.revoked)
    for _ in range(3):
        worker = session.ready(session.start_worker())
        session.wait(lambda: session.account.starts, "something ran")
        session.kill(worker)
        session.follow()
    session.start_worker()
    session.start_worker()


def rolling_deploy(session: Session, scale: float) -> None:
    """T23: tasks of a new version come to workers of the old one first."""
    newer = replace(session.place.setup, version=2)
    count = max(20, round(1000 * scale))
    old = [session.ready(session.start_worker()) for _ in range(2)]
    session.produce(count, 5.0, rate=50, setup=newer)
    session.produce(count, 5.0, rate=50, first=100_000, name="newer", setup=newer)
    session.wait(lambda: not session.producing, "all are sent")
    known = {number for number in session.account.acked if number < 100_000}
    session.wait(lambda: known <= session.account.ends.keys(), "what is known has ended")
    session.outages = len(session.account.acked) - len(known)
    for worker in old:
        session.start_worker(setup=newer)
        worker.signal(signal.SIGTERM)
        worker.wait()
        session.workers.remove(worker)
