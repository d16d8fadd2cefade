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

from . import machine, processes, report, scenarios, systems
from .plan import MILLION, QUICK, Plan
from .session import Session

DOCS = processes.ROOT / "docs" / "benchmarks.md"
#: Seconds to wait for a quiet machine.
PATIENCE = 120.0


def main() -> int:
    """Run the benchmark; 0 unless a system could not run."""
    options = _parse()
    plan = _plan(options)
    turns = [
        (scenario, system)
        for scenario in scenarios.ALL
        for system in scenario.systems
        if scenario.name in (options.scenario or [scenario.name])
        and system.name in (options.only or [system.name])
    ]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="celeriac-bench-", dir=options.dir) as home:
        notes = machine.facts(Path(home))
        session = Session(plan, turns, Path(home), options.patience)
        session.run()
    notes += [*session.notes(), f"it took {(time.monotonic() - began) / 60:.1f} minutes"]
    text = report.render(session.rows, plan, notes)
    print(text)
    if options.json:
        contents = {"notes": notes, "plan": dataclasses.asdict(plan), "rows": session.rows.all}
        options.json.write_text(json.dumps(contents, indent=1, ensure_ascii=False) + "\n")
    if options.write_docs:
        report.write_into(DOCS, text)
    return 1 if session.failures else 0


def _plan(options: argparse.Namespace) -> Plan:
    chosen = {
        "tasks": options.tasks,
        "repetitions": options.repetitions,
        "queued": MILLION if options.million else None,
    }
    return dataclasses.replace(
        QUICK if options.quick else Plan(), **{key: value for key, value in chosen.items() if value}
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short repetition")
    parser.add_argument("--million", action="store_true", help="a long queue of 1,000,000 tasks")
    parser.add_argument("--tasks", type=int, metavar="N", help="tasks sent one by one, and drained")
    parser.add_argument("--repetitions", type=int, metavar="N")
    parser.add_argument("--only", choices=_names(systems.ALL), action="append", help="one system")
    parser.add_argument(
        "--scenario", choices=_names(scenarios.ALL), action="append", help="one scenario"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every repetition there")
    parser.add_argument("--dir", type=Path, help="where the databases go, the system's default")
    parser.add_argument(
        "--patience",
        type=float,
        metavar="SECONDS",
        default=PATIENCE,
        help="how long to wait for a quiet machine",
    )
    parser.add_argument("--write-docs", action="store_true", help="put the report into the docs")
    return parser.parse_args()


def _names(these: tuple[systems.System, ...] | tuple[scenarios.Scenario, ...]) -> list[str]:
    return [one.name for one in these]


if __name__ == "__main__":
    sys.exit(main())
