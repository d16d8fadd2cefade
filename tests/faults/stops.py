"""Workers asked to stop while they are busy with short tasks, of which they have claimed ahead."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flask_celeriac import sqlite
from tests.faults.tracing import PATIENCE
from tests.system.killing import look_into
from tests.system.ledger import Ledger, Story
from tests.system.tasks import SOFT, client
from tests.system.workers import Worker, wait_for, worker

TASKS = 200


@dataclass(frozen=True)
class Stop:
    """A worker, and how it is asked to stop."""

    options: tuple[str, ...]
    how: signal.Signals
    #: Seconds that running tasks are given before they are taken back.
    soft: float = 0.0

    def __str__(self) -> str:
        how = "warm" if self.how is signal.SIGTERM else "soft" if self.soft else "cold"
        return f"{' '.join(self.options)}, {how}"


WORKERS = (
    ("-P", "prefork", "-c", "2"),
    ("-P", "prefork", "-c", "2", "--max-tasks-per-child", "1"),
    ("-P", "threads", "-c", "2"),
    ("-P", "solo"),
)
EVERY = [
    Stop(options, how, soft)
    for options in WORKERS
    for how, soft in ((signal.SIGTERM, 0.0), (signal.SIGQUIT, 0.0), (signal.SIGQUIT, 1.0))
]


def run(folder: Path, stop: Stop, chance: random.Random) -> Iterator[str]:
    """What is wrong after a worker was stopped, and another one did what was left."""
    folder.mkdir(parents=True)
    ledger, path = folder / "ledger", str(folder / "celeriac.db")
    Ledger(ledger).close()
    url = sqlite.url_of(path)
    with client(url) as app:
        for number in range(TASKS):
            app.tasks["work"].apply_async((number, chance.uniform(0, 2)))
    first = folder / "first.log"
    with worker(url, *stop.options, log=first, ledger=ledger, **{SOFT: str(stop.soft)}) as stopped:
        enough = chance.randrange(5, TASKS // 2)
        wait_for(lambda: len(Story.read(ledger).ends) >= enough, f"{enough} ended", PATIENCE)
        stopped.stop(stop.how, PATIENCE)
    story, found = Story.read(ledger), look_into(path)
    if found["claimed"] or found["processes"]:
        yield f"it kept {found}"
    if stop.how is signal.SIGTERM and found["messages"] != TASKS - len(story.ends):
        yield f"{len(story.ends)} of {TASKS} ended, {found['messages']} are left"
    # Celery's thread pool cannot end a task: it says so by an error, and gives back all the same.
    if "Traceback" in stopped.output() and "threads" not in stop.options:
        yield stopped.output()[stopped.output().index("Traceback") :][:2000]
    with worker(url, "-P", "threads", "-c", "2", log=folder / "next.log", ledger=ledger) as again:
        wait_for(lambda: _all_done(again, path), f"the rest\n{again.output()}", PATIENCE)
    story = Story.read(ledger)
    if len(story.ends) < TASKS:
        yield f"lost: {sorted(set(range(TASKS)) - story.ends.keys())}"
    if stop.how is signal.SIGTERM and story.duplicates:
        yield f"{story.duplicates} ran twice"
    if story.overlaps():
        yield f"two runs at once: {story.overlaps()}"


def _all_done(again: Worker, path: str) -> bool:
    again.check()
    return look_into(path)["messages"] == 0


def sweep(
    folder: Path, seed: int, stops: list[Stop], rounds: int, say: Callable[[str], None]
) -> list[str]:
    """Each stop some times, at moments that the seed chooses; what went wrong."""
    chance = random.Random(seed)
    wrong = []
    for number, stop in enumerate(stops * rounds):
        found = [f"{stop}: {text}" for text in run(folder / str(number), stop, chance)]
        say(f"{number + 1}/{len(stops) * rounds} {stop}: {'; '.join(found) or 'nothing lost'}")
        wrong += found
    return wrong
