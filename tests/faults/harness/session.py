"""A workload on a system, the faults that hit it, and what became of it."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.faults.harness import jobs, tasks
from tests.faults.harness.checker import Account, Cell
from tests.faults.harness.setup import Setup
from tests.faults.harness.systems import Place
from tests.faults.harness.zygote import Process
from tests.system.ledger import Ledger, Line, Tail
from tests.system.tasks import LEDGER

CONCURRENCY = 2
JOBS = jobs.__name__
#: Seconds that ours is given to run what a fault hit: what is promised is 60.
PROMISE = 75.0
#: Seconds without anything new after which Celery is taken to do nothing more.
QUIET = 15.0
T = TypeVar("T")


class Slow(Exception):
    """What was waited for did not come; what the cell says of it."""


@dataclass
class Hit:
    """A fault, and the runs that it interrupted."""

    moment: float
    running: list[Line]


@dataclass
class Session:
    """Workers and producers at a place, followed through their ledger."""

    place: Place
    seed: int
    recipe: str
    chance: random.Random = field(init=False)
    workers: list[Process] = field(default_factory=list)
    producers: list[Process] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    #: Injections that hit no single run: an outage, a dropped reply.
    outages: int = 0
    #: Of workers and pool processes, whether a task ran in them or not.
    kills: int = 0
    #: Further runs that an injection explains, beyond the runs that were hit.
    excused: int = 0
    revoked: set[int] = field(default_factory=set)
    #: Tasks that are meant to come to no end, and are not counted.
    apart: set[int] = field(default_factory=set)
    #: Whether two runs of a task at once are what the fault brings about.
    may_overlap: bool = False
    #: Deliveries that did not arrive: when, and of which task.
    dropped: list[tuple[float, int]] = field(default_factory=list)
    #: When a server was back after an outage.
    returns: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.seed} {self.recipe} {self.place.system}")
        self.ledger = self.place.folder / "ledger"
        Ledger(self.ledger).close()
        self.tail = Tail(self.ledger)
        self.account = Account()
        self.running: dict[tuple[int, int], Line] = {}
        self.begun = self.last_news = time.monotonic()
        self.started = 0
        system, where = self.place.system, self.recipe
        self.cell = Cell(where, str(system), system.is_ours, self.seed)

    # What runs

    def environment(self, setup: Setup | None = None) -> dict[str, str]:
        return {**(setup or self.place.setup).environment, LEDGER: str(self.ledger)}

    def start_worker(
        self, *options: str, setup: Setup | None = None, namespace: str | None = None
    ) -> Process:
        self.started += 1
        pool = () if "-P" in options else ("-P", "prefork")
        width = () if "-c" in options else ("-c", str(CONCURRENCY))
        process = self.place.zygote.start(
            f"{JOBS}:worker",
            *(*options, *pool, *width, "-n", f"worker-{self.started}@%h"),
            log=self.place.folder / f"worker-{self.started}.log",
            env=self.environment(setup),
            namespace=namespace,
        )
        self.workers.append(process)
        return process

    def ready(self, worker: Process, seconds: float = 60.0) -> Process:
        def is_ready() -> bool:
            assert worker.alive, f"the worker ended:\n{worker.output()[-3000:]}"
            return " ready." in worker.output()

        self.wait(is_ready, "a worker is ready", seconds)
        return worker

    def produce(
        self,
        count: int,
        longest: float = 50.0,
        *,
        rate: float = 0.0,
        first: int = 0,
        name: str = "work",
        payload: int = 0,
        setup: Setup | None = None,
        **options: object,
    ) -> Process:
        """Have tasks enqueued by a process of its own."""
        process = self.place.zygote.start(
            f"{JOBS}:produce",
            *(self.seed, first, count, longest, rate, name, payload, options),
            log=self.place.folder / f"producer-{len(self.producers)}.log",
            env=self.environment(setup),
        )
        self.producers.append(process)
        return process

    def transactions(self, count: int, *, first: int, rate: float) -> Process:
        """Have tasks enqueued on commit by a process of its own."""
        process = self.place.zygote.start(
            f"{JOBS}:commit",
            *(self.seed, first, count, 20.0, rate),
            log=self.place.folder / f"producer-{len(self.producers)}.log",
            env=self.environment(),
        )
        self.producers.append(process)
        return process

    def run(self, function: str, *arguments: object, setup: Setup | None = None) -> str:
        """Call a function of ``jobs`` in a process of its own, and what it printed."""
        log = self.place.folder / f"{function}-{time.monotonic_ns()}.log"
        process = self.place.zygote.start(
            f"{JOBS}:{function}", *arguments, log=log, env=self.environment(setup)
        )
        self.wait(lambda: not process.alive, function)
        assert process.code == 0, process.output()
        return process.output()

    # What they do

    def follow(self) -> None:
        for line in self.tail.read():
            if line.number not in self.apart:
                self.last_news = time.monotonic()
            if line.kind == "attempt":
                self.account.attempted.add(line.number)
            self.account.add(line)
            if line.kind == "start":
                self.running[line.number, line.pid] = line
            elif line.kind == "end":
                self.running.pop((line.number, line.pid), None)

    def running_in(self, *pids: int) -> list[Line]:
        return [line for line in self.running.values() if {line.pid, line.parent} & {*pids}]

    def wait(self, what: Callable[[], T], why: str, seconds: float = PROMISE) -> T:
        """Wait until something is true, and follow the ledger meanwhile."""
        end = time.monotonic() + seconds
        while True:
            self.follow()
            if found := what():
                return found
            if time.monotonic() > end:
                raise Slow(f"after {seconds:.0f} s still not: {why}")
            time.sleep(0.005)

    def busy(self, worker: Process) -> list[Line]:
        return self.running_in(worker.pid)

    @property
    def producing(self) -> bool:
        return any(producer.alive for producer in self.producers)

    @property
    def missing(self) -> set[int]:
        return self.account.acked - self.account.ends.keys() - self.revoked - self.apart

    # Faults

    def kill(self, worker: Process, *, group: bool = True, pid: int | None = None) -> Hit:
        """SIGKILL to a worker, its main process alone, or one of its pool processes."""
        moment = time.monotonic()
        self.kills += 1
        whose = worker.pid
        if pid is not None:
            whose = pid
            os.kill(pid, signal.SIGKILL)
        else:
            worker.signal(signal.SIGKILL, group=group)
            worker.wait()
            self.workers.remove(worker)
        self.follow()
        return self.hit(moment, self.running_in(whose))

    def hit(self, moment: float, lines: list[Line]) -> Hit:
        """Note which runs a fault interrupted."""
        for line in lines:
            self.running.pop((line.number, line.pid), None)
        hit = Hit(moment, [line for line in lines if line.moment < moment])
        if hit.running:
            self.hits.append(hit)
        return hit

    def outage(self, moment: float) -> None:
        """Note that something was out of reach, and is back since a moment."""
        self.outages += 1
        self.returns.append(moment)

    def slowest(self) -> float:
        """Seconds that the slowest call of a producer took."""
        found = [re.findall(r"slowest ([\d.]+)", producer.output()) for producer in self.producers]
        return max((float(words[-1]) for words in found if words), default=0.0)

    # The end

    def settle(self, quiet: float = QUIET) -> None:
        """Wait until all that was acknowledged has ended, or nothing more will come."""
        ours = self.place.system.is_ours

        def done() -> bool:
            if self.producing:
                self.last_news = time.monotonic()
                return False
            if not self.missing and not (ours and self.place.held(self.seed) - self.apart):
                return True
            return time.monotonic() - self.last_news > (PROMISE if ours else quiet)

        self.last_news = time.monotonic()
        while not self.wait(done, "the end", 3600):
            pass

    def stop_workers(self, seconds: float = 60.0) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.wait(seconds)
            except AssertionError:
                self.cell.wrong.append(f"a worker did not stop: {worker.output()[-500:]}")

    def judge(self) -> Cell:
        """What became of it, once nothing runs any more."""
        self.follow()
        cell, account = self.cell, Account.of(self.ledger)
        held = self.place.held(self.seed)
        cell.count(account.without(self.apart), held, self.revoked)
        if self.place.completions is not None:
            cell.twice = self.place.completions.twice()
            dead = self.place.completions.given_up()
            cell.notes += [f"given up: {dead[:10]}"] if dead and not self.apart else []
        cell.injections = len(self.hits) + self.outages
        cell.allowed = self.kills * CONCURRENCY + self.excused
        interrupted = [(hit.moment, line.number) for hit in self.hits for line in hit.running]
        for moment, number in (*interrupted, *self.dropped):
            again = [line.moment for line in account.starts[number] if line.moment > moment]
            cell.recoveries += [min(again) - moment] if again else []
        every = sorted(line.moment for lines in account.starts.values() for line in lines)
        for moment in self.returns:
            cell.recoveries += [start - moment for start in every if start > moment][:1]
        if cell.ours:
            cell.wrong += self.place.complaints()
            overlaps = [] if self.may_overlap else account.overlaps()
            cell.wrong += [f"two runs at once: {overlaps[:10]}"] if overlaps else []
        cell.seconds = time.monotonic() - self.begun
        return cell

    def close(self) -> None:
        for process in (*self.workers, *self.producers):
            with contextlib.suppress(AssertionError):
                process.end()
        self.tail.close()


@contextlib.contextmanager
def session(place: Place, seed: int, recipe: str) -> Iterator[Session]:
    made = Session(place, seed, recipe)
    try:
        yield made
    finally:
        made.close()


def logs(folder: Path) -> str:
    """The ends of what all processes wrote, for whoever looks for a reason."""
    return "\n".join(
        f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
        for path in sorted(folder.glob("*.log"))
    )


__all__ = ["CONCURRENCY", "Hit", "Session", "Slow", "logs", "session", "tasks"]
