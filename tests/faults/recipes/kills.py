"""T1, T2, T3: workers and pool processes that are killed."""

from __future__ import annotations

import time

from tests.faults.harness.session import Session, Slow

WORKERS = 2


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
            victim = session.wait(lambda: _busy(session), "a worker is busy", 10)
        except Slow:
            break  # all is done
        if number % 4 == 3 and (running := session.busy(victim)):
            session.kill(victim, pid=session.chance.choice(running).pid)
            continue
        session.kill(victim, group=number % 4 != 2)
        session.start_worker()


def _busy(session: Session) -> object:
    busy = [worker for worker in session.workers if session.busy(worker)]
    return session.chance.choice(busy) if busy else None
