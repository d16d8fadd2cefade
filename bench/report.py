"""What is printed: the systems, the runs, the figures, and whether the targets are reached."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from . import systems
from .measures import MEASURES, Measure
from .plan import Plan
from .rows import Cell, Rows
from .scenarios import ALL, Scenario
from .systems import System
from .table import table
from .targets import targets

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def render(rows: Rows, plan: Plan, notes: Iterable[str]) -> str:
    """The whole report, in Markdown that also reads well in a terminal."""
    once = plan.repetitions == 1
    parts = [
        "\n".join(f"- {note}" for note in notes),
        _systems(),
        "What was run:",
        _runs(rows),
        "One repetition:"
        if once
        else f"Medians of {plan.repetitions} interleaved repetitions (lowest to highest):",
        _figures(rows),
        "The figures and their targets:" if once else "The medians and their targets:",
        _targets(rows, plan),
    ]
    return "\n\n".join(parts) + "\n"


def _systems() -> str:
    head = ["system", "made of", "durability"]
    return table([head, *([one.name, one.made_of, one.durability] for one in systems.ALL)])


def _runs(rows: Rows) -> str:
    head = ["scenario", "system", "workers", "results", "sent with", "tasks", "calls"]
    lines = [[*head, "acks", "prefetch", "processes"]]
    for scenario in ALL:
        for system in scenario.systems:
            measured = rows.of(scenario, system)
            if measured:
                lines.append(_run(scenario, system, measured[0]))
    return table(lines)


def _run(scenario: Scenario, system: System, row: dict[str, Any]) -> list[str]:
    return [
        scenario.name,
        system.name,
        scenario.fleet.name if scenario.fleet else "-",
        "stored" if scenario.task == "add" else "ignored",
        "delay_many" if scenario.sends_many(system) else "delay",
        f"{row['tasks']:,}",
        str(row.get("calls", "-")),
        {True: "late", False: "early"}.get(row.get("acks_late", ""), "-"),
        str(row.get("prefetch", "-")),
        _processes(system, row.get("processes")),
    ]


def _processes(system: System, workers: int | None) -> str:
    """A client is there in every case: one process, one thread."""
    parts = ["client 1"]
    if workers:
        parts.append(f"workers {workers}")
    if system.server:
        parts.append("server 1")
    return ", ".join(parts)


def _figures(rows: Rows) -> str:
    lines = [["", *(system.name for system in systems.ALL)]]
    for measure in MEASURES:
        cells = [_figure(measure, _values(rows, system, measure)) for system in systems.ALL]
        lines.append([measure.title, *cells])
    return table(lines)


def _values(rows: Rows, system: System, measure: Measure) -> list[float]:
    return [
        value
        for scenario in measure.scenarios
        for value in rows.values(Cell(scenario, system, measure.key))
    ]


def _figure(measure: Measure, values: list[float]) -> str:
    if not values:
        return "-"
    low, middle, high = (
        f"{value:,.{measure.digits}f}" for value in (min(values), median(values), max(values))
    )
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def _targets(rows: Rows, plan: Plan) -> str:
    lines = [["", "measured", "against", "target", "reached"]]
    lines += [
        [
            target.title,
            _measured(target.value(rows), target.unit),
            f"{target.theirs.system.name}: {target.theirs.scenario.name}" if target.theirs else "-",
            target.bound(),
            target.verdict(rows),
        ]
        for target in targets(plan)
    ]
    return table(lines)


def _measured(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.2f}{unit}"


def write_into(page: Path, report: str) -> None:
    """Replace what stands between the two markers of a page.

    :raises ValueError: the page has no markers
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} has no {BEGIN} … {END}")
    page.write_text(f"{before}{BEGIN}\n\n{report}\n{END}{after}", encoding="utf-8")
