"""What the embedded broker is to reach, set against stock Celery or against itself."""

from __future__ import annotations

from dataclasses import dataclass

from .plan import Plan
from .rows import Cell, Rows
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
from .systems import EMBEDDED, EMBEDDED_FULL, EMBEDDED_RESULTS, REDIS, REDIS_FSYNCED

#: A rate with records, at least, of what it is without: they may take 15 % more time.
RECORDING = 0.87


@dataclass(frozen=True)
class Target:
    """A figure, and how large it is to be at least or at most.

    :param theirs: what it is divided by; None for a figure that stands for itself
    :param limit: None where the figure is only shown
    """

    title: str
    ours: Cell
    theirs: Cell | None
    limit: float | None
    at_least: bool = True
    unit: str = "x"

    def value(self, rows: Rows) -> float | None:
        """The figure, or the ratio; None where it was not measured."""
        return rows.median(self.ours) if self.theirs is None else rows.ratio(self.ours, self.theirs)

    def verdict(self, rows: Rows) -> str:
        """Whether it is reached."""
        value = self.value(rows)
        if value is None:
            return "not measured"
        if self.limit is None:
            return "-"
        return "yes" if (value >= self.limit if self.at_least else value <= self.limit) else "NO"

    def bound(self) -> str:
        """How large it is to be."""
        if self.limit is None:
            return "-"
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}{self.unit}"


def _enqueued(title: str, ours: Cell, theirs: Cell, limit: float) -> Target:
    return Target(f"`delay()`, {title}", ours, theirs, limit)


def targets(plan: Plan) -> list[Target]:
    """All of them; some say in their title how much the plan measures."""
    stock_delay = Cell(FIRST, REDIS, "enqueue_per_s")
    fsynced_delay = Cell(FSYNCED, REDIS_FSYNCED, "enqueue_per_s")
    full = Cell(FSYNCED, EMBEDDED_FULL, "enqueue_per_s")
    stock_drain = Cell(FIRST, REDIS, "drain_per_s")
    stock_solo = Cell(SOLO, REDIS, "drain_per_s")
    stock_ignored = Cell(PREFORK_IGNORED, REDIS, "drain_per_s")
    stock_solo_ignored = Cell(SOLO_IGNORED, REDIS, "drain_per_s")
    solo = Cell(SOLO, EMBEDDED, "drain_per_s")
    ignored = Cell(SOLO_IGNORED, EMBEDDED, "drain_per_s")
    long = f"{plan.queued:,} queued"
    return [
        _enqueued("normal", Cell(FIRST, EMBEDDED, "enqueue_per_s"), stock_delay, 3),
        _enqueued("full", full, stock_delay, 1.5),
        _enqueued("full; Redis fsyncs, too", full, fsynced_delay, 1.5),
        Target("`delay_many()`", Cell(LONG, EMBEDDED, "bulk_per_s"), stock_delay, 15),
        _own(f"memory it takes for {plan.queued:,}", "bulk_memory_mib", 10, " MiB", at_most=True),
        Target("drain, prefork -c 2", Cell(FIRST, EMBEDDED, "drain_per_s"), stock_drain, 2.5),
        Target("drain, two solo workers", solo, stock_drain, 7),
        Target("the same; Redis with two solo workers", solo, stock_solo, None),
        Target("drain, results ignored, two solo workers", ignored, stock_ignored, 12),
        Target("the same; Redis with two solo workers", ignored, stock_solo_ignored, None),
        Target("the same; Redis with results", ignored, stock_drain, None),
        *_round_trip("median", "median_ms", 0.4),
        *_round_trip("99th percentile", "p99_ms", 0.6),
        _idle("prefork -c 2", FIRST),
        _idle("solo", RESTING),
        _own(f"{long}: drain rate, last fifth / first", "evenness", 0.9, "x", at_most=False),
        _own(f"{long}: workers' memory, end / first fifth", "growth", 1.1, "x", at_most=True),
        Target(
            f"drain beside {plan.later:,} with an eta / without",
            Cell(BESIDE_LATER, EMBEDDED, "drain_per_s"),
            Cell(WITHOUT_LATER, EMBEDDED, "drain_per_s"),
            0.95,
        ),
        _recorded("`delay()`", FIRST, "enqueue_per_s"),
        _recorded("drain, prefork -c 2", FIRST, "drain_per_s"),
        _recorded("drain, two solo workers", SOLO, "drain_per_s"),
        _recorded("the same, results ignored", SOLO_IGNORED, "drain_per_s", None),
    ]


def _recorded(title: str, scenario: Scenario, key: str, limit: float | None = RECORDING) -> Target:
    """With records of all tasks, against results alone."""
    ours, theirs = (Cell(scenario, system, key) for system in (EMBEDDED, EMBEDDED_RESULTS))
    return Target(f"recording: {title}", ours, theirs, limit)


def _round_trip(title: str, key: str, limit: float) -> list[Target]:
    """Of workers that have nothing else to do."""
    stock, stock_solo = Cell(FIRST, REDIS, key), Cell(RESTING, REDIS, key)
    solo, prefork = Cell(RESTING, EMBEDDED, key), Cell(FIRST, EMBEDDED, key)
    same = "the same; Redis with one solo worker"
    return [
        Target(f"round trip, one solo worker, {title}", solo, stock, limit, at_least=False),
        Target(same, solo, stock_solo, None, at_least=False),
        Target(f"round trip, prefork -c 2, {title}", prefork, stock, limit, at_least=False),
    ]


def _idle(title: str, scenario: Scenario) -> Target:
    """Of a worker that has run tasks, and has no more."""
    ours = Cell(scenario, EMBEDDED, "idle_percent")
    return Target(f"idle worker, {title}", ours, None, 0.3, at_least=False, unit=" % of a core")


def _own(title: str, key: str, limit: float, unit: str, *, at_most: bool) -> Target:
    """Of the long queue, measured against nothing."""
    return Target(title, Cell(LONG, EMBEDDED, key), None, limit, at_least=not at_most, unit=unit)
