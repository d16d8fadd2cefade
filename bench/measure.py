"""One repetition of a scenario by one system: send, drain, check, rest."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import later, processes, workers
from .plan import Plan
from .processes import CannotRunError
from .scenarios import Scenario
from .systems import System

#: Seconds after which a task that ran twice would have been counted twice.
GRACE = 0.3


@dataclass(frozen=True)
class Run:
    """A repetition.

    :param environment: what the processes of the system are told
    :param home: an empty directory for this run alone
    """

    scenario: Scenario
    system: System
    plan: Plan
    home: Path
    environment: dict[str, str]

    @property
    def count(self) -> int:
        """How many tasks are sent."""
        return self.scenario.count(self.system, self.plan)

    def client(self, action: str, count: int = 0) -> dict[str, Any]:
        """What a client does, in a process of its own."""
        return processes.client(
            action, self.system.app, self.environment, task=self.scenario.task, count=count
        )

    def measure(self) -> dict[str, Any]:
        """Do all of it."""
        if self.scenario.beside_later:
            later.lay(self.system, self.plan.later, self.home, self.home.parent / "later")
        is_bulk = self.scenario.sends_many(self.system)
        row = self.client("enqueue-many" if is_bulk else "enqueue", self.count)
        row["tasks"] = self.count
        if self.scenario.fleet is None:
            self._check_that_still_wait(self.count)
        else:
            commands = [self.system.worker(each) for each in self.scenario.fleet.options()]
            with workers.running(commands, self.home, self.environment) as running:
                row.update(self._drain(running))
                if self.scenario.then_rests:
                    row.update(self._idle(running))
                    row.update(self._round_trips())
        if self.scenario.beside_later:
            self._check_that_still_wait(self.plan.later)
        return row

    def _drain(self, running: workers.Workers) -> dict[str, Any]:
        """The rate between the first and the last task run, and that all is as it should be."""
        running.wait_until_ready()
        cpu = running.cpu()  # starting up is no part of a task
        ticks = running.drain(self.count)
        cpu = running.cpu() - cpu
        row = {
            "drain_per_s": ticks.rate,
            "drain_cpu_us": cpu / self.count * 1e6,
            "processes": len(running.processes()),
        }
        if self.scenario.is_long:
            start, end = running.progress.memory()
            row["evenness"] = running.progress.evenness()
            row.update(start_mib=start / 2**20, end_mib=end / 2**20, growth=end / start)
        self._check(running)
        return row

    def _check(self, running: workers.Workers) -> None:
        """Each task was run once, and its result is there."""
        if self.scenario.task == "add":
            outcome = self.client("check")
            if outcome["missing"]:
                raise CannotRunError(
                    f"{outcome['missing']} of {outcome['checked']} results are missing or wrong"
                )
        time.sleep(GRACE)
        ticks, expected = running.ticks(), sum(range(self.count))
        if (ticks.count, ticks.total) != (self.count, expected):
            raise CannotRunError(
                f"{ticks.count} tasks of {self.count} were run, with arguments that add up to"
                f" {ticks.total} instead of {expected}"
            )

    def _round_trips(self) -> dict[str, Any]:
        calls = self.system.calls or self.plan.calls
        return {"calls": calls, **self.client("roundtrip", calls)}

    def _idle(self, running: workers.Workers) -> dict[str, Any]:
        time.sleep(self.plan.settle)
        cpu, began = running.cpu(), time.monotonic()
        time.sleep(self.plan.idle)
        seconds = time.monotonic() - began
        return {"idle_percent": (running.cpu() - cpu) / seconds * 100}

    def _check_that_still_wait(self, count: int) -> None:
        waiting = self.client("purge")["purged"]
        if waiting != count:
            raise CannotRunError(f"{waiting} tasks were in the queue instead of {count}")


def run(scenario: Scenario, system: System, plan: Plan, home: Path) -> dict[str, Any]:
    """Measure a system once.

    :param home: an empty directory for this run alone
    :raises CannotRunError: a process of it failed, or a task was lost or run twice
    """
    marks_in = home / "marks"
    marks_in.mkdir()
    with system.running(home) as own:
        environment = {**own, "BENCH_MARKS": str(marks_in)}
        return Run(scenario, system, plan, home, environment).measure()
