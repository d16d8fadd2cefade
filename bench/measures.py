"""The figures that are printed for each system."""

from __future__ import annotations

from dataclasses import dataclass

from .scenarios import (
    BESIDE_LATER,
    FIRST,
    FSYNCED,
    LONG,
    PREFORK_IGNORED,
    RESTING,
    SOLO,
    SOLO_IGNORED,
    WITHOUT_LATER,
    Scenario,
)


@dataclass(frozen=True)
class Measure:
    """Something measured in one or more scenarios, of which a system takes part in one at most."""

    title: str
    key: str
    scenarios: tuple[Scenario, ...]
    digits: int = 0


MEASURES = (
    Measure("`delay()`, tasks/s", "enqueue_per_s", (FIRST, FSYNCED)),
    Measure("`delay_many()`, tasks/s", "bulk_per_s", (LONG,)),
    Measure("memory `delay_many()` takes, MiB", "bulk_memory_mib", (LONG,), 1),
    Measure("drain, prefork -c 2, tasks/s", "drain_per_s", (FIRST,)),
    Measure("drain, two solo workers, tasks/s", "drain_per_s", (SOLO,)),
    Measure("the same once more, tasks/s", "drain_per_s", (WITHOUT_LATER,)),
    Measure("the same beside tasks with an eta, tasks/s", "drain_per_s", (BESIDE_LATER,)),
    Measure("drain, prefork -c 2, results ignored, tasks/s", "drain_per_s", (PREFORK_IGNORED,)),
    Measure("drain, two solo workers, results ignored, tasks/s", "drain_per_s", (SOLO_IGNORED,)),
    Measure("drain of the long queue, tasks/s", "drain_per_s", (LONG,)),
    Measure("its workers' memory after the first fifth, MiB", "start_mib", (LONG,), 1),
    Measure("its workers' memory at the end, MiB", "end_mib", (LONG,), 1),
    Measure("round trip, prefork -c 2, median, ms", "median_ms", (FIRST,), 2),
    Measure("round trip, prefork -c 2, 99th percentile, ms", "p99_ms", (FIRST,), 2),
    Measure("round trip, one solo worker, median, ms", "median_ms", (RESTING,), 2),
    Measure("round trip, one solo worker, 99th percentile, ms", "p99_ms", (RESTING,), 2),
    Measure("idle prefork -c 2 worker, % of a core", "idle_percent", (FIRST,), 2),
    Measure("idle solo worker, % of a core", "idle_percent", (RESTING,), 2),
    Measure("CPU of a `delay()`, µs", "enqueue_cpu_us", (FIRST, FSYNCED)),
    Measure("workers' CPU of a drained task, prefork, µs", "drain_cpu_us", (FIRST,)),
    Measure("workers' CPU of a drained task, solo, µs", "drain_cpu_us", (SOLO,)),
)
