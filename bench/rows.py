"""What was measured: one row for each repetition of a scenario by a system."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from .scenarios import Scenario
from .systems import System


@dataclass(frozen=True)
class Cell:
    """One figure of a system in a scenario."""

    scenario: Scenario
    system: System
    key: str


class Rows:
    """All rows, in the order in which they were measured."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def add(self, scenario: Scenario, system: System, measured: dict[str, Any]) -> None:
        """Add a repetition."""
        self.all.append({"scenario": scenario.name, "system": system.name, **measured})

    def of(self, scenario: Scenario, system: System) -> list[dict[str, Any]]:
        """The repetitions of a scenario by a system."""
        names = (scenario.name, system.name)
        return [row for row in self.all if (row["scenario"], row["system"]) == names]

    def values(self, cell: Cell) -> list[float]:
        """A figure, of each repetition."""
        return [row[cell.key] for row in self.of(cell.scenario, cell.system) if cell.key in row]

    def median(self, cell: Cell) -> float | None:
        """A figure, None where it was not measured."""
        values = self.values(cell)
        return median(values) if values else None

    def ratio(self, ours: Cell, theirs: Cell) -> float | None:
        """How many times theirs ours is, None where one of them was not measured."""
        mine, other = self.median(ours), self.median(theirs)
        return mine / other if mine is not None and other else None
