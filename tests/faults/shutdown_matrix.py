"""Workers told to stop in every way, while they hold short tasks, long ones and dated ones.

T21: TERM, INT and QUIT, once and twice, and TERM followed by KILL, as what stops containers does.
T23: two versions of the code side by side, each with tasks that the other does not know.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kombu import pools

from flask_celeriac import operations
from flask_celeriac.records.task_record import Filter
from tests.faults.shutdown_app import BROKER, DATABASE, FOLDER, VERSION, make
from tests.services.systems import RECORDED, environ_of
from tests.system.ledger import Ledger, Story
from tests.system.workers import Worker, wait_for, worker

Say = Callable[[str], None]

SHORT, LONG, DATED = 60, 2, 3
#: Seconds.
LONG_TASK = 1.5
DATE = 2.0
PATIENCE = 60.0


@dataclass(frozen=True)
class Stop:
    """The signals that a worker gets, one after the other, and seconds between the first two."""

    signals: tuple[signal.Signals, ...]
    pause: float = 0.1

    def __str__(self) -> str:
        names = " ".join(each.name.removeprefix("SIG") for each in self.signals)
        return f"{names} ({self.pause:g} s)" if len(self.signals) > 1 else names


TERM, INT, QUIT, KILL = signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL
STOPS = (
    *(Stop((each,)) for each in (TERM, INT, QUIT)),
    *(Stop((each, each)) for each in (TERM, INT, QUIT)),
    *(Stop((TERM, KILL), pause) for pause in (0.2, 1.0, 5.0)),
)
POOLS = (("-P", "prefork", "-c", "2"), ("-P", "threads", "-c", "2"), ("-P", "solo"))


class System:
    """An application on a broker, its workers and what they did."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ledger = folder / "ledger"
        Ledger(self.ledger).close()
        self.environ = {
            FOLDER: str(folder),
            BROKER: environ.get("CELERY_BROKER_URL", ""),
            DATABASE: environ.get("FLASK_CELERIAC_DATABASE", ""),
        }
        self.celery: Any = make(self.environ)
        self._number = 0

    def send(self, version: str, seconds: float, **options: Any) -> None:
        args = (self._number, seconds)
        self._number += 1
        self.celery.tasks[f"shutdown.{version}"].apply_async(args, **options)

    @contextmanager
    def working(self, *options: str, **environ: str) -> Iterator[Worker]:
        log = self.folder / f"{len(list(self.folder.glob('*.log')))}.log"
        more = {**self.environ, **environ}
        with worker("", *options, log=log, ledger=self.ledger, module="tests.faults.shutdown_app",
                    **more) as found:  # fmt: skip
            yield found.wait_ready()

    @property
    def ended(self) -> int:
        return len(Story.read(self.ledger).ends)

    def finish(self, *workers: Worker) -> None:
        """Wait until every task has ended."""

        def done() -> bool:
            for each in workers:
                each.check()
            return self.ended >= self._number

        said = "\n".join(each.output()[-2000:] for each in workers)
        wait_for(done, f"{self._number} ended, but {self.ended}\n{said}", PATIENCE)

    def wrong(self, duplicates: int) -> Iterator[str]:
        """What is not as it should be when all has ended."""
        story = Story.read(self.ledger)
        if story.duplicates > duplicates:
            yield f"{story.duplicates} ran twice, more than {duplicates}"
        dead = operations.list_tasks(self.celery, Filter(states=("dead",))).tasks
        if dead:
            yield f"dead: {[task.error_message for task in dead]}"

    def recovers(self) -> bool:
        """Whether a killed worker's tasks come back before an hour is over."""
        with self.celery.connection_for_read() as connection:
            transport = type(connection.transport)
        return not transport.__module__.startswith("kombu.transport.redis")

    def close(self) -> None:
        self.celery.close()
        pools.reset()


def stop_one(
    system: System, stop: Stop, options: tuple[str, ...], chance: random.Random
) -> list[str]:
    """Stop a worker in the middle, and let another one do what is left; what went wrong."""
    for _ in range(LONG):
        system.send("old", LONG_TASK)
    for _ in range(DATED):
        system.send("old", 0.0, countdown=DATE)
    for _ in range(SHORT):
        system.send("old", chance.uniform(0, 0.02))
    with system.working(*options) as first:
        enough = chance.randrange(1, SHORT // 2)
        wait_for(lambda: system.ended >= enough, f"{enough} ended\n{first.output()}", PATIENCE)
        for number, each in enumerate(stop.signals):
            if number:
                first.process.join(stop.pause)
            if first.process.exitcode is None:
                os.kill(first.pid, each)
        first.process.join(PATIENCE)
        if first.process.exitcode is None:
            return [f"it does not stop:\n{first.output()[-2000:]}"]
    with system.working("-P", "threads", "-c", "2") as second:
        system.finish(second)
    concurrency = 1 if "solo" in options else 2
    return list(system.wrong(duplicates=concurrency))


def versions(system: System, tasks: int = 20) -> list[str]:
    """Two versions of the code, each with tasks that the other does not know."""
    pool = ("-P", "threads", "-c", "1")
    for number in range(tasks):
        system.send("old" if number % 2 else "new", 0.0)
    with (
        system.working(*pool, "-n", "old@%h", **{VERSION: "old"}) as old,
        system.working(*pool, "-n", "new@%h", **{VERSION: "new"}) as new,
    ):
        system.finish(old, new)
    return list(system.wrong(duplicates=0))


def run(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """Every stop of every pool on every broker, as often as the scale says; what went wrong."""
    chance = random.Random(seed)
    cases = [(options, stop) for options in POOLS for stop in STOPS] * max(1, round(scale))
    if scale < 1:
        cases = chance.sample(cases, max(1, round(len(cases) * scale)))
    wrong: list[str] = []
    for name in RECORDED:
        for number, (options, stop) in enumerate(cases):
            what = partial(stop_one, stop=stop, options=options, chance=chance)
            title, killed = f"{' '.join(options)}, {stop}", KILL in stop.signals
            wrong += one(folder / name / str(number), name, what, title, say, killed=killed)
        wrong += one(folder / name / "versions", name, versions, "two versions", say)
    return wrong


def one(
    folder: Path,
    name: str,
    what: Callable[[System], list[str]],
    title: str,
    say: Say,
    *,
    killed: bool = False,
) -> list[str]:
    """One case on a broker of its own; what went wrong."""
    began = time.monotonic()
    with environ_of(name) as environ:
        system = System(folder, environ)
        try:
            if killed and not system.recovers():
                say(f"{name}: {title}: not tested, as kombu waits for an hour")
                return []
            found = what(system)
        except AssertionError as error:
            found = [str(error)]
        finally:
            system.close()
    took = time.monotonic() - began
    say(f"{name}: {title}: {'; '.join(found) or 'nothing lost'} ({took:.1f} s)")
    return [f"{name}: {title}: {text}" for text in found]
