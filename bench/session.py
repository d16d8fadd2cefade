"""All repetitions of all scenarios, the systems taking turns."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import machine, measure
from .measures import MEASURES
from .plan import Plan
from .processes import CannotRunError
from .rows import Rows
from .scenarios import Scenario
from .systems import System


class Session:
    """One run of the benchmark.

    :param turns: which system runs which scenario, in this order in each repetition
    :param home: where the files of the systems go
    :param patience: seconds to wait for a quiet machine before the first turn; before each of the
        others it is a sixth of that
    """

    def __init__(
        self, plan: Plan, turns: list[tuple[Scenario, System]], home: Path, patience: float
    ) -> None:
        self.plan = plan
        self.turns = turns
        self.home = home
        self.rows = Rows()
        self.failures: list[str] = []
        self._patience = patience
        self._busy: list[float] = []

    def run(self) -> None:
        """Take every turn as often as planned; one that fails stops no other."""
        for repetition in range(self.plan.repetitions):
            for scenario, system in self.turns:
                patience = self._patience / 6 if self._busy else self._patience
                self._busy.append(machine.wait_until_quiet(patience))
                _say(f"repetition {repetition + 1}, {self._turn(scenario, system)}")

    def _turn(self, scenario: Scenario, system: System) -> str:
        name = f"{scenario.name}, {system.name}"
        try:
            with tempfile.TemporaryDirectory(dir=self.home) as home:
                row = measure.run(scenario, system, self.plan, Path(home))
        except CannotRunError as error:
            self.failures.append(name)
            return f"{name} could not run: {error}"
        self.rows.add(scenario, system, row)
        return f"{name}: {_in_short(scenario, row)}"

    def notes(self) -> list[str]:
        """What a reader has to know of how it went."""
        return [
            self._quietness(),
            *(f"could not run: {name}" for name in sorted(set(self.failures))),
        ]

    def _quietness(self) -> str:
        """Whether the machine had anything else to do, as far as could be seen."""
        if not self._busy:
            return "nothing was run"
        loud = [share for share in self._busy if share > machine.QUIET]
        if not loud:
            return (
                f"quiet: before every run at most {max(self._busy):.0%} of the machine was in use"
            )
        return (
            f"NOT quiet: before {len(loud)} of {len(self._busy)} runs more than"
            f" {machine.QUIET:.0%} of the machine was in use (up to {max(loud):.0%})"
        )


def _in_short(scenario: Scenario, row: dict[str, Any]) -> str:
    return ", ".join(
        f"{one.title} {row[one.key]:,.{one.digits}f}"
        for one in MEASURES
        if scenario in one.scenarios and one.key in row
    )


def _say(text: str) -> None:
    """Progress, apart from the report."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
