"""T1, T2, T3, T7, T17: workers and pool processes that are killed, stopped or ended."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.faults.harness.session import PROMISE, Session, Slow
from tests.faults.harness.tasks import POISON, task_id
from tests.faults.harness.zygote import Process

WORKERS = 2
#: How often a task may be cut off before it is given up: the default of ours.
MAX_ATTEMPTS = 5
#: Seconds after which poison that nobody runs any more is taken to be done with.
STILL = 10.0


@contextlib.contextmanager
def innocent(_: Path) -> Iterator[dict[str, Any]]:
    """A setup that gives up no task, as the oldest ones are hit again and again by chance."""
    yield {"flask": {"CELERIAC_MAX_ATTEMPTS": 0}}


def kill_loop(session: Session, scale: float) -> None:
    """T1: SIGKILL to whole workers, main processes and pool processes while tasks run."""
    kills = max(3, round(200 * scale))
    session.produce(max(100, round(10_000 * scale)), 50.0, rate=80)
    for _ in range(WORKERS):
        session.start_worker()
    for number in range(kills):
        pause = time.monotonic() + session.chance.uniform(0.2, 1.0)
        session.wait(lambda: time.monotonic() > pause, "it is time", 5)  # noqa: B023 - at once
        try:
            victim = busy_worker(session, 10)
        except Slow:
            break  # all is done
        if number % 4 == 3 and (running := session.busy(victim)):
            session.kill(victim, pid=session.chance.choice(running).pid)
            continue
        session.kill(victim, group=number % 4 != 2)
        session.start_worker()


def busy_worker(session: Session, seconds: float = PROMISE) -> Process:
    """A worker that runs a task now."""

    def look() -> Process | None:
        busy = [worker for worker in session.workers if session.busy(worker)]
        return session.chance.choice(busy) if busy else None

    found = session.wait(look, "a worker is busy", seconds)
    assert found is not None
    return found


def poison(session: Session, scale: float) -> None:
    """T2: tasks that end their process beside tasks that do not."""
    count = max(4, round(40 * scale))
    session.apart = set(range(POISON, POISON + count))
    worker = session.ready(session.start_worker())
    session.produce(max(40, round(1000 * scale)), 20.0, rate=40)
    session.produce(count, first=POISON, name="poison", rate=10)
    begun = time.monotonic()

    def done() -> bool:
        assert worker.alive, "the main process ended"
        if session.producing:
            return False
        dead = [line.moment for number in session.apart for line in session.account.starts[number]]
        still = not dead or time.monotonic() - max(dead) > STILL
        return (still and not session.missing) or time.monotonic() - begun > PROMISE

    session.wait(done, "the poison is done with", 3 * PROMISE)
    runs = {number: len(session.account.starts[number]) for number in session.apart}
    session.outages += sum(runs.values())
    session.excused += sum(runs.values())
    session.cell.notes.append(f"poison ran {max(runs.values(), default=0)} times at most")
    if not session.cell.ours:
        return
    if too_often := {number: times for number, times in runs.items() if times > MAX_ATTEMPTS}:
        session.cell.wrong.append(f"poison ran more than {MAX_ATTEMPTS} times: {too_often}")
    ends = session.place.completions.read() if session.place.completions else {}
    for number in sorted(session.apart):
        states = [state for state, _ in ends.get(task_id(session.seed, number), [])]
        if states != ["dead"]:
            session.cell.wrong.append(f"poison {number} is {states}, not dead")


def orphans(session: Session, scale: float) -> None:
    """T3: SIGKILL to a main process while its pool processes run long tasks."""
    kills = max(2, round(20 * scale))
    session.produce(kills * 4, 3000.0)
    for _ in range(WORKERS):
        session.start_worker()
    for _ in range(kills):
        try:
            victim = busy_worker(session, 20)
        except Slow:
            break
        session.kill(victim, group=False)
        session.start_worker()


def stall(session: Session, scale: float) -> None:
    """T7: SIGSTOP to a whole worker until its tasks were given to another; then SIGCONT."""
    session.may_overlap = True
    setup = replace(session.place.setup, lease=10.0)
    if session.place.system.broker == "rabbitmq":
        setup = replace(setup, celery={**setup.celery, "broker_heartbeat": 4})
    for turn in range(max(1, round(10 * scale))):
        stalled = session.ready(session.start_worker(setup=setup))
        session.produce(4, 4000.0, first=turn * 4)
        session.wait(lambda: session.busy(stalled), "it is busy")  # noqa: B023 - at once
        moment = time.monotonic()
        stalled.signal(signal.SIGSTOP, group=True)
        session.follow()
        hit = session.hit(moment, session.busy(stalled))
        session.kills += 1
        heir = session.ready(session.start_worker(setup=setup))

        def taken_over(heir: Process = heir, numbers: tuple[int, ...] = tuple(
            line.number for line in hit.running
        )) -> bool:  # fmt: skip
            starts = session.account.starts
            return all(any(s.parent == heir.pid for s in starts[n]) for n in numbers)

        try:
            session.wait(taken_over, "it was taken over", PROMISE if session.cell.ours else 20)
        except Slow as slow:
            session.cell.wrong.append(str(slow))
        stalled.signal(signal.SIGCONT, group=True)
        session.settle()
        session.stop_workers()
        session.workers.clear()


def forks(session: Session, scale: float) -> None:
    """T17: a process for each task."""
    session.produce(max(20, round(2000 * scale)), 2.0)
    session.start_worker("--max-tasks-per-child", "1")
    session.settle()
    processes = {line.pid for lines in session.account.starts.values() for line in lines}
    session.outages = len(processes)
    session.cell.notes.append(f"{len(processes)} processes")
