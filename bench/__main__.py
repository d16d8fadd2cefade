"""The command: ``python -m bench`` from the root of the repository."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import machine, measure, processes, report
from .systems import ALL, System

DOCS = processes.ROOT / "docs" / "benchmarks.md"
QUICK = measure.Plan(tasks=1_000, calls=200, repetitions=1, idle=10.0, settle=2.0)
#: Seconds to wait for a quiet machine: before the first run, and before each of the others.
PATIENCE, PATIENCE_BETWEEN = 120.0, 20.0


def main() -> int:
    """Run the benchmark; 0 unless a system could not run."""
    options = _parse()
    plan = QUICK if options.quick else measure.Plan()
    chosen = {"tasks": options.tasks, "repetitions": options.repetitions}
    plan = dataclasses.replace(plan, **{key: value for key, value in chosen.items() if value})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="celeriac-bench-", dir=options.dir) as home:
        notes = machine.facts(Path(home))
        systems = [one for one in ALL if one.name in (options.only or [one.name])]
        bench = Bench(plan, systems, Path(home))
        bench.run()
    notes.append(bench.quietness())
    notes += [f"{name} could not run" for name in sorted(set(bench.failures))]
    text = report.render(bench.rows, plan, notes)
    print(text)
    if options.json:
        contents = {"notes": notes, "plan": dataclasses.asdict(plan), "rows": bench.rows}
        options.json.write_text(json.dumps(contents, indent=1, ensure_ascii=False) + "\n")
    if options.write_docs:
        report.write_into(DOCS, text)
    return 1 if bench.failures else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short repetition")
    parser.add_argument("--tasks", type=int, metavar="N", help="tasks sent and drained")
    parser.add_argument("--repetitions", type=int, metavar="N")
    parser.add_argument(
        "--only", choices=[system.name for system in ALL], action="append", help="one system only"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every repetition there")
    parser.add_argument("--dir", type=Path, help="where the databases go, the system's default")
    parser.add_argument("--write-docs", action="store_true", help="put the report into the docs")
    return parser.parse_args()


class Bench:
    """All repetitions, the systems taking turns."""

    def __init__(self, plan: measure.Plan, systems: list[System], home: Path) -> None:
        self.plan = plan
        self.systems = systems
        self.home = home
        self.rows: report.Rows = {system.name: [] for system in ALL}
        self.failures: list[str] = []
        self._busy: list[float] = []

    def run(self) -> None:
        """Measure every system as often as planned; one that cannot run stops no other."""
        for repetition in range(self.plan.repetitions):
            for system in self.systems:
                self._busy.append(
                    machine.wait_until_quiet(PATIENCE_BETWEEN if self._busy else PATIENCE)
                )
                try:
                    with tempfile.TemporaryDirectory(dir=self.home) as home:
                        row = measure.run(system, self.plan, Path(home))
                except processes.CannotRunError as error:
                    self.failures.append(system.name)
                    _say(f"{system.name} could not run: {error}")
                else:
                    self.rows[system.name].append(row)
                    _say(f"{system.name}, repetition {repetition + 1}: {_in_short(row)}")

    def quietness(self) -> str:
        """Whether the machine had anything else to do, as far as could be seen."""
        loud = [share for share in self._busy if share > machine.QUIET]
        if not loud:
            return (
                f"quiet: before every run at most {max(self._busy):.0%} of the machine was in use"
            )
        return (
            f"NOT quiet: before {len(loud)} of {len(self._busy)} runs more than"
            f" {machine.QUIET:.0%} of the machine was in use (up to {max(loud):.0%})"
        )


def _in_short(row: dict[str, Any]) -> str:
    return ", ".join(
        f"{one.title} {row[one.key]:,.{one.digits}f}" for one in measure.MEASURES if one.key in row
    )


def _say(text: str) -> None:
    """Progress, apart from the report."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
