"""What is printed: the systems, the numbers, and the ratios to stock Celery."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from .measure import MEASURES, Measure, Plan
from .systems import ALL, EMBEDDED, EMBEDDED_FULL, REDIS, REDIS_FSYNCED, SQLA, System

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"

#: For each system, one row of measurements per repetition.
Rows = dict[str, list[dict[str, Any]]]


def render(rows: Rows, plan: Plan, notes: Iterable[str]) -> str:
    """The whole report, in Markdown that also reads well in a terminal."""
    parts = [
        "\n".join(f"- {note}" for note in notes),
        _systems(rows),
        "One repetition:"
        if plan.repetitions == 1
        else f"Medians of {plan.repetitions} interleaved repetitions (lowest to highest):",
        _numbers(rows),
        "Ratios of the medians:",
        _ratios(rows),
    ]
    return "\n\n".join(parts) + "\n"


def _systems(rows: Rows) -> str:
    table = [["system", "made of", "durability", "acks", "prefetch", "processes", "tasks", "calls"]]
    for system in ALL:
        row = (rows[system.name] or [{}])[0]
        multiplier, workers = row.get("prefetch"), row.get("processes")
        table.append(
            [
                system.name,
                system.made_of,
                system.durability,
                {True: "late", False: "early"}.get(row.get("acks_late", ""), "-"),
                "-" if multiplier is None else f"2 x {multiplier}",
                _process_count(system, workers),
                str(row.get("tasks", "-")),
                str(row.get("calls", "-")),
            ]
        )
    return _table(table)


def _process_count(system: System, workers: int | None) -> str:
    """A client is there in every case: one process, one thread."""
    parts = ["client"]
    if workers:
        parts.append(f"worker 1 + {workers - 1}")
    if system.server:
        parts.append("server 1")
    return ", ".join(parts)


def _numbers(rows: Rows) -> str:
    table = [["", *(system.name for system in ALL)]]
    for measure in MEASURES:
        cells = [_cell(measure, _values(rows, system, measure)) for system in ALL]
        table.append([measure.title, *cells])
    return _table(table)


def _cell(measure: Measure, values: list[float]) -> str:
    if not values:
        return "-"
    low, middle, high = (
        f"{value:,.{measure.digits}f}" for value in (min(values), median(values), max(values))
    )
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def _ratios(rows: Rows) -> str:
    table = [["", "better", "embedded / redis", "embedded / sqla+sqlite", "not slower than redis"]]
    for measure in MEASURES:
        title = measure.title
        table.append(_ratio_row(rows, measure, EMBEDDED, REDIS, title))
        if measure.key == "enqueue_per_s":
            full = (EMBEDDED_FULL, REDIS_FSYNCED, f"{title}, both fsynced")
            table.append(_ratio_row(rows, measure, *full))
            uneven = (EMBEDDED_FULL, REDIS, f"{title}, only embedded fsynced")
            table.append(_ratio_row(rows, measure, *uneven))
    return _table(table)


def _ratio_row(rows: Rows, measure: Measure, ours: System, theirs: System, title: str) -> list[str]:
    to_redis, to_sqla = ratio(rows, measure, ours, theirs), ratio(rows, measure, ours, SQLA)
    if to_redis is None:
        verdict = "not measured"
    else:
        verdict = "yes" if (to_redis >= 1) == measure.is_rate or to_redis == 1 else "NO"
    return [
        title,
        "higher" if measure.is_rate else "lower",
        _times(to_redis),
        _times(to_sqla),
        verdict,
    ]


def _times(value: float | None) -> str:
    if value is None:
        return "-"
    return "< 0.01x" if value < 0.01 else f"{value:.2f}x"


def ratio(rows: Rows, measure: Measure, ours: System, theirs: System) -> float | None:
    """How many times theirs ours is, None where one of them was not measured."""
    mine, other = _values(rows, ours, measure), _values(rows, theirs, measure)
    return median(mine) / median(other) if mine and other else None


def _values(rows: Rows, system: System, measure: Measure) -> list[float]:
    return [row[measure.key] for row in rows[system.name] if measure.key in row]


def _table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def write_into(page: Path, report: str) -> None:
    """Replace what stands between the two markers of a page.

    :raises ValueError: the page has no markers
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has no {BEGIN} … {END}")
    page.write_text(f"{before}{BEGIN}\n\n{report}\n{END}{after}", encoding="utf-8")
