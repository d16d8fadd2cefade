"""One repetition of one system: send, drain, round trips, idle."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import processes
from .systems import System


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    :param idle: seconds over which the CPU time of an idle worker is taken
    :param settle: seconds the worker is left alone before that
    """

    tasks: int = 10_000
    calls: int = 1_000
    repetitions: int = 3
    idle: float = 15.0
    settle: float = 4.0


@dataclass(frozen=True)
class Measure:
    """Something measured of every system.

    :param is_rate: whether more is better
    """

    key: str
    title: str
    is_rate: bool
    digits: int = 0


MEASURES = (
    Measure("enqueue_per_s", "enqueue, tasks/s", True),
    Measure("drain_per_s", "drain with results, tasks/s", True),
    Measure("median_ms", "round trip, median, ms", False, 2),
    Measure("p99_ms", "round trip, 99th percentile, ms", False, 2),
    Measure("idle_percent", "idle worker, % of a core", False, 2),
    Measure("enqueue_cpu_us", "CPU of a `delay()`, µs", False),
    Measure("drain_cpu_us", "worker's CPU of a drained task, µs", False),
)


def run(system: System, plan: Plan, home: Path) -> dict[str, Any]:
    """Measure a system once.

    :param home: an empty directory for this run alone
    :raises CannotRunError: a process of it failed, or a task was lost
    """
    marks_in = home / "marks"
    marks_in.mkdir()
    tasks = max(100, int(plan.tasks * system.share))
    with system.running(home) as own:
        environment = {**own, "BENCH_MARKS": str(marks_in)}
        row = processes.client("describe", system.app, 0, environment)
        sent = processes.client("enqueue", system.app, tasks, environment)
        row.update(tasks=tasks, enqueue_per_s=sent["per_second"], enqueue_cpu_us=sent["cpu_us"])
        if not system.enqueue_only:
            with processes.worker(system.worker, home, environment) as worker:
                row.update(_drain(worker, system, sent["sent"], environment))
                row.update(_round_trips(system, plan, environment))
                row.update(_idle(worker, plan))
    return row


def _drain(
    worker: processes.Worker, system: System, sent: int, environment: dict[str, str]
) -> dict[str, Any]:
    """The rate between the first and the last task run, and that every result is there."""
    worker.wait_until_ready()
    already, cpu = worker.ticks().count, worker.cpu()  # starting up is no part of a task
    ticks = worker.wait_for(sent)
    cpu = worker.cpu() - cpu
    checked = processes.client("check", system.app, 0, environment)
    if checked["missing"]:
        raise processes.CannotRunError(f"{checked['missing']} of {sent} results are missing")
    return {
        "drain_per_s": (ticks.count - 1) / ticks.seconds,
        "drain_cpu_us": cpu / max(1, ticks.count - already) * 1e6,
        "processes": len(worker.pids()),
    }


def _round_trips(system: System, plan: Plan, environment: dict[str, str]) -> dict[str, Any]:
    calls = system.calls or plan.calls
    return {"calls": calls, **processes.client("roundtrip", system.app, calls, environment)}


def _idle(worker: processes.Worker, plan: Plan) -> dict[str, Any]:
    time.sleep(plan.settle)
    cpu, began = worker.cpu(), time.monotonic()
    time.sleep(plan.idle)
    seconds = time.monotonic() - began
    return {"idle_percent": (worker.cpu() - cpu) / seconds * 100}
