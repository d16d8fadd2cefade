"""The kill test: tasks that nobody may lose, and a SIGKILL every second."""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from flask_celeriac import sqlite
from tests.system import producer
from tests.system.ledger import Ledger, Line, Story, Tail
from tests.system.tasks import make_app
from tests.system.workers import ROOT, Worker, alive, environment, wait_for

CONCURRENCY = 2
WORKERS = 2
#: What is killed: a worker with its pool, its main process only, or one process of its pool.
WHOLE, MAIN, CHILD = "whole group", "main process only", "pool process only"
AIMS = {"prefork": (WHOLE, MAIN, CHILD), "threads": (WHOLE,), "solo": (WHOLE,)}
#: Seconds between a run's end and a kill that may still make it run again: its result and its
#: acknowledgement wait for each other's transaction, a few milliseconds on a machine at rest.
UNWRITTEN = 1.0


@dataclass
class Kill:
    """A SIGKILL that hit while a task of the worker ran."""

    moment: float
    worker: int
    aim: str
    running: list[Line]
    #: Whether the other worker lived and had begun tasks of its own.
    witness: int | None


@dataclass
class Outcome:
    seed: int
    pool: str
    seconds: float
    acked: int
    lost: set[int]
    unexpected: set[int]
    duplicates: int
    #: Those of them whose first run had ended, but whose worker was killed before that was written.
    completed_twice: int
    #: Tasks that ran again although the process they ran in was not killed, or long after.
    unexplained: list[int]
    overlaps: list[int]
    kills: list[Kill]
    #: Those that hit no running task are not counted above.
    sigkills: int
    missing_results: list[str]
    file: dict[str, object]
    orphans: list[int]
    deleted_wal: list[str]
    recoveries: list[float] = field(default_factory=list)
    witnessed: list[float] = field(default_factory=list)

    def report(self) -> str:
        aims = Counter(kill.aim for kill in self.kills)

        def spread(values: list[float]) -> str:
            if not values:
                return "none"
            return (
                f"p50 {statistics.median(values):.2f} s, max {max(values):.2f} s,"
                f" {len(values)} tasks"
            )

        return "\n".join(
            [
                (
                    f"{self.pool}, seed {self.seed}: {self.acked} tasks in {self.seconds:.0f} s,"
                    f" {len(self.kills)} kills while a task ran"
                    f" ({', '.join(f'{number} {aim}' for aim, number in aims.items())})"
                ),
                (
                    f"lost {len(self.lost)}, unexpected {len(self.unexpected)},"
                    f" results missing {len(self.missing_results)}"
                ),
                (
                    f"run again {self.duplicates} ({self.sigkills} kills in all),"
                    f" of these after their end {self.completed_twice},"
                    f" without a kill {len(self.unexplained)},"
                    f" overlapping runs {len(self.overlaps)}"
                ),
                f"file {self.file}, orphans {self.orphans}, deleted logs {self.deleted_wal}",
                f"killed task's next start: {spread(self.recoveries)}",
                f"... where another worker lived through it: {spread(self.witnessed)}",
            ]
        )


class Watcher(threading.Thread):
    """Sees to it that no process of ours writes to a write-ahead log that was deleted.

    https://sqlite.org/howtocorrupt.html, 2.2: that is what losing a lock looks like.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.workers: list[Worker] = []
        self.found: list[str] = []
        self.seen: set[int] = set()
        self._stop_it = threading.Event()

    def run(self) -> None:
        while not self._stop_it.wait(0.2):
            for worker in list(self.workers):
                for pid in worker.pids():
                    self.seen.add(pid)
                    self.look_at(pid)
            self.look_at(os.getpid())

    def look_at(self, pid: int) -> None:
        directory = f"/proc/{pid}/fd"
        try:
            links = [os.readlink(f"{directory}/{name}") for name in os.listdir(directory)]
        except OSError:
            return
        self.found += [f"{pid}: {link}" for link in links if link.endswith("-wal (deleted)")]

    def stop(self) -> None:
        self._stop_it.set()
        self.join()


class KillTest:
    """Two workers of a pool, a producer, and kills.

    :param longest: milliseconds that a task takes at most.
    """

    def __init__(
        self,
        directory: Path,
        seed: int,
        tasks: int,
        *,
        pool: str = "prefork",
        longest: float = 50.0,
    ) -> None:
        self.pool = pool
        self.directory = directory
        self.path = str(directory / "celeriac.db")
        self.url = sqlite.url_of(self.path)
        self.ledger = directory / "ledger"
        Ledger(self.ledger).close()
        self.seed, self.tasks, self.longest = seed, tasks, longest
        self.chance = random.Random(seed)
        self.story = Story()
        self.tail = Tail(self.ledger)
        self.running: dict[tuple[int, int], Line] = {}
        self.begun: set[int] = set()
        self.kills: list[Kill] = []
        #: When each process was killed.
        self.killed: dict[int, float] = {}
        self.workers: list[Worker] = []
        self.watcher = Watcher()
        self.started = 0

    def run(self, every: float = 1.0, patience: float = 600.0) -> Outcome:
        began = time.monotonic()
        self.watcher.start()
        producing = self._produce()
        try:
            for _ in range(WORKERS):
                self._start_worker()
            self._kill_until_done(producing, every, began + patience)
            assert producing.wait(60) == 0
            for worker in self.workers:
                worker.stop()
        finally:
            producing.kill()
            producing.wait()
            for worker in self.workers:
                worker.end()
            self.watcher.stop()
            self.tail.close()
        return self._outcome(time.monotonic() - began)

    def _produce(self) -> subprocess.Popen[bytes]:
        words = [str(self.seed), str(self.tasks), str(self.longest)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.system.producer", *words],
            cwd=ROOT,
            env=environment(self.url, self.ledger),
        )

    def _start_worker(self) -> None:
        self.started += 1
        log = self.directory / f"worker-{self.started}.log"
        concurrency = 1 if self.pool == "solo" else CONCURRENCY
        options = ("-P", self.pool, "-c", str(concurrency), "-n", f"kill-{self.started}@%h")
        worker = Worker(self.url, *options, log=log, ledger=self.ledger)
        self.workers.append(worker)
        self.watcher.workers.append(worker)

    def _follow(self) -> None:
        for line in self.tail.read():
            self.story.add(line)
            if line.kind == "start":
                self.running[line.number, line.pid] = line
                self.begun |= {line.pid, line.parent}
            elif line.kind == "end":
                self.running.pop((line.number, line.pid), None)

    def _kill_until_done(
        self, producing: subprocess.Popen[bytes], every: float, end: float
    ) -> None:
        due = time.monotonic() + every
        while len(self.story.ends) < self.tasks:
            assert time.monotonic() < end, f"only {len(self.story.ends)} of {self.tasks} ended"
            assert producing.poll() in {None, 0}, "the producer failed"
            self._follow()
            for worker in self.workers:
                worker.check()
            if time.monotonic() >= due and self._kill_one():
                due = max(due + every, time.monotonic())
            time.sleep(0.002)

    def _kill_one(self) -> bool:
        busy = [w for w in self.workers if self._running_in(w.pid)]
        if not busy:
            return False
        victim = self.chance.choice(busy)
        aims = AIMS[self.pool]
        aim = aims[len(self.killed) % len(aims)]
        moment = time.monotonic()
        pid = self._kill(victim, aim)
        self.killed[pid] = moment
        self._follow()
        hit = [line for line in self._running_in(victim.pid) if pid in {line.pid, line.parent}]
        for line in hit:
            del self.running[line.number, line.pid]
        running = [line for line in hit if line.moment < moment]
        if running:  # else it ended just before: the kill does not count
            others = [w.pid for w in self.workers if w is not victim and w.pid in self.begun]
            self.kills.append(Kill(moment, victim.pid, aim, running, others[0] if others else None))
        if pid == victim.pid:
            self.workers.remove(victim)
            self._start_worker()
        return True

    def _kill(self, victim: Worker, aim: str) -> int:
        """Kill as much of a worker, and return the process that was aimed at."""
        if aim == CHILD:
            pid = self.chance.choice(self._running_in(victim.pid)).pid
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not alive(pid), "a pool process ended")
            return pid
        victim.kill(group=aim == WHOLE)
        victim.wait()
        return victim.pid

    def _running_in(self, main: int) -> list[Line]:
        """What a worker runs; outside of prefork it is the process that runs it."""
        return [line for line in self.running.values() if main in {line.pid, line.parent}]

    def _outcome(self, seconds: float) -> Outcome:
        story = Story.read(self.ledger)
        pids = self.watcher.seen | {line.pid for ls in story.starts.values() for line in ls}
        outcome = Outcome(
            seed=self.seed,
            pool=self.pool,
            seconds=seconds,
            acked=len(story.acked),
            lost=story.lost,
            unexpected=story.unexpected,
            duplicates=story.duplicates,
            completed_twice=sum(len(ends) - 1 for ends in story.ends.values()),
            unexplained=self._unexplained(story),
            overlaps=story.overlaps(),
            kills=self.kills,
            sigkills=len(self.killed),
            missing_results=self._missing_results(),
            file=self._look_into(),
            orphans=[pid for pid in pids if alive(pid)],
            deleted_wal=self.watcher.found,
        )
        self._measure_recovery(story, outcome)
        return outcome

    def _unexplained(self, story: Story) -> list[int]:
        return [
            number
            for number, starts in story.starts.items()
            for before, after in pairwise(sorted(starts, key=lambda line: line.moment))
            if not self._explains(story, before, after)
        ]

    def _explains(self, story: Story, run: Line, again: Line) -> bool:
        """Whether a run was killed, or so soon after its end that nobody had noted that."""
        killed = min(
            (self.killed[pid] for pid in (run.pid, run.parent) if pid in self.killed),
            default=again.moment,
        )
        ends = [line.moment for line in story.ends.get(run.number, ()) if line.pid == run.pid]
        return killed < again.moment and all(end > killed - UNWRITTEN for end in ends)

    def _look_into(self) -> dict[str, object]:
        return look_into(self.path)

    def _measure_recovery(self, story: Story, outcome: Outcome) -> None:
        for kill in self.kills:
            for line in kill.running:
                again = [s.moment for s in story.starts[line.number] if s.moment > kill.moment]
                if not again:
                    continue
                outcome.recoveries.append(min(again) - kill.moment)
                deaths = [
                    other.moment
                    for other in self.kills
                    if other.worker == kill.witness and kill.moment < other.moment < min(again)
                ]
                if kill.witness is not None and not deaths:
                    outcome.witnessed.append(min(again) - kill.moment)

    def _missing_results(self) -> list[str]:
        app = make_app(self.url)
        missing = []
        for number in range(self.tasks):
            result = app.AsyncResult(producer.task_id(self.seed, number))
            if result.state != "SUCCESS" or result.result != number * 2:
                missing.append(f"{number}: {result.state} {result.result!r}")
        app.close()
        return missing


def look_into(path: str) -> dict[str, object]:
    """What a process of its own finds in a broker's file."""
    found: dict[str, object] = json.loads(
        subprocess.run(
            [sys.executable, "-m", "tests.system.check_file", path],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    return found
