"""T24, T25: messages that are garbage, and chords whose messages come twice."""

from __future__ import annotations

import re

import psutil

from tests.faults.harness.session import Session, Slow
from tests.faults.harness.tasks import BODIES
from tests.faults.recipes.kills import busy_worker

#: Bytes that a worker may grow by.
GROWTH = 50 * 1024 * 1024


def garbage(session: Session, scale: float) -> None:
    """T24: pickles, deep JSON, no text, forged headers, between good tasks."""
    count = max(20, round(1000 * scale))
    trap = session.place.folder / "unpickled"
    worker = session.ready(session.start_worker())
    session.produce(20, 5.0)
    session.wait(lambda: not session.producing and not session.missing, "it works")
    before = psutil.Process(worker.pid).memory_info().rss
    said = session.run("garbage", session.seed, count, str(trap))
    session.outages = int(said.split()[-1])
    session.produce(max(40, count), 5.0, first=1000)
    session.settle()
    alive = worker.alive
    session.cell.notes.append("the worker lives" if alive else "the worker ended")
    if not alive:
        session.cell.wrong.append(f"the worker ended:\n{worker.output()[-2000:]}")
        session.workers.remove(worker)
        return
    grown = psutil.Process(worker.pid).memory_info().rss - before
    session.cell.notes.append(f"grown by {grown >> 20} MiB")
    if grown > GROWTH:
        session.cell.wrong.append(f"the worker grew by {grown >> 20} MiB")
    if trap.exists():
        session.cell.wrong.append("a pickle was loaded")


def chords(session: Session, scale: float) -> None:
    """T25: chords of which some members come twice, while workers are killed."""
    session.may_overlap = True
    count, size = max(5, round(1000 * scale)), 20
    session.run("chords", session.seed, 0, count, size, 20.0)
    said = session.run("deliver_twice", session.seed, 0.05)
    again = {int(found) for found in re.findall(rf"fault-{session.seed}-(\d+)", said)}
    session.outages = session.excused = len(again)
    session.start_worker()
    session.start_worker()
    for _ in range(max(2, round(50 * scale))):
        try:
            victim = busy_worker(session, 10)
        except Slow:
            break
        session.kill(victim)
        session.start_worker()
    session.settle()
    starts = session.account.starts
    often = {n: len(lines) for n, lines in starts.items() if n >= BODIES and len(lines) > 1}
    if sum(often.values()) - len(often) > session.kills:
        session.cell.wrong.append(f"bodies ran again: {often}")
    hit = {line.number for hit in session.hits for line in hit.running}
    others = [n for n, lines in starts.items() if len(lines) > 1 and n not in again | hit]
    session.cell.notes += [f"neither hit nor sent twice: {others}"] if others else []
    session.cell.notes.append(f"{count} chords of {size}, {len(often)} bodies ran twice")
