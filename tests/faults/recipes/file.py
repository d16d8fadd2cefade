"""T6, T8, T15: the embedded file on a disk that is full, held by who was stopped, looked at."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.harness.session import JOBS, Session
from tests.system.killing import Watcher

#: Seconds within which a caller is told that there is no room.
PATIENCE = 5.0
#: Of that disk; and what is left before it is filled: the last 24 MiB are not for new tasks.
SIZE, ROOM = 96 * 1024 * 1024, 28 * 1024 * 1024
COMMANDS = (
    *("list", "list --json", "queues", "workers", "config", "db current", "db check", "list --all"),
    *("queues --json", "workers --json", "config --json", "prune --keep-others 99999999"),
)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[dict[str, Any]]:
    """A file system of its own that is soon full."""
    where = folder.parent / f"{folder.name}-disk"
    where.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "faults", str(where)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        yield {"not_tested": f"a small disk needs root: {done.stderr.strip()}"}
        return
    try:
        yield {"home": where}
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def full_disk(session: Session, scale: float) -> None:
    """T6: no room, while tasks are sent and run; and room again."""
    home = Path(session.place.setup.home)
    session.ready(session.start_worker())
    for turn in range(max(1, round(10 * scale))):
        filler = home / "filler"
        free = os.statvfs(home)
        with filler.open("wb") as file:
            file.write(b"x" * max(0, free.f_bavail * free.f_bsize - ROOM))
        producer = session.produce(400, 400.0, first=turn * 10_000, payload=40_000)
        session.wait(lambda: "refused" in producer.output(), "no room", 120)  # noqa: B023 - at once
        session.outages += 1
        session.wait(lambda: not producer.alive, "all were tried", 600)  # noqa: B023
        session.wait(lambda: not session.missing, "what was accepted ends", 120)
        filler.unlink()
        session.produce(10, 5.0, first=turn * 10_000 + 5_000)
        session.returns.append(time.monotonic())
        session.settle()
    slowest = session.slowest()
    session.cell.notes.append(f"slowest call {slowest:.1f} s")
    if slowest > PATIENCE:
        session.cell.wrong.append(f"a caller waited {slowest:.1f} s")


def held_lock(session: Session, scale: float) -> None:
    """T8: a process is stopped in the middle of a transaction, under load."""
    turns = max(1, round(10 * scale))
    session.ready(session.start_worker())
    session.produce(turns * 30 * 20, 5.0, rate=20)
    for _ in range(turns):
        log = session.place.folder / f"holder-{time.monotonic_ns()}.log"
        holder = session.place.zygote.start(
            f"{JOBS}:hold", 3600, log=log, env=session.environment()
        )
        session.wait(lambda: "holding" in holder.output(), "it holds")  # noqa: B023 - at once
        holder.signal(signal.SIGSTOP)
        due = time.monotonic() + (20.0 if scale >= 0.5 else 12.0)
        session.wait(lambda: time.monotonic() > due, "it is time", 30)  # noqa: B023
        holder.signal(signal.SIGKILL)
        session.outage(time.monotonic())
        session.excused += 4
    session.settle()
    session.cell.notes.append(f"slowest call {session.slowest():.1f} s")


def looked_at(session: Session, scale: float) -> None:
    """T15: every command, in a process of its own and in one that has the file open."""
    watcher = Watcher()
    watcher.start()
    try:
        worker = session.ready(session.start_worker())
        session.produce(max(100, round(2000 * scale)), 20.0, rate=50)
        for _ in range(max(1, round(20 * scale))):
            said = session.run("commands", *COMMANDS)
            session.outages += len(COMMANDS)
            for pid in (worker.pid, *worker.children()):
                watcher.look_at(pid)
            session.cell.wrong += [
                line for line in said.splitlines() if not line.startswith("locks ")
            ]
            if "locks 0" in said:
                session.cell.wrong.append("it had no lock to lose")
    finally:
        watcher.stop()
    session.cell.wrong += watcher.found[:5]
