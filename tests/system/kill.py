"""The kill test at full length: ``python -m tests.system.kill``."""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from tests.system.killing import AIMS, CONCURRENCY, KillTest, Outcome

#: Runs that a kill may repeat: those that were hit, and, where tasks are short, what a worker has
#: done of the few milliseconds it had claimed ahead.
ALLOWED = {"prefork": CONCURRENCY, "threads": 64 + CONCURRENCY, "solo": 64 + 1}


def complaints(outcome: Outcome) -> list[str]:
    """What is wrong with an outcome."""
    wrong = {
        f"lost: {sorted(outcome.lost)[:20]}": outcome.lost,
        f"unexpected: {sorted(outcome.unexpected)[:20]}": outcome.unexpected,
        f"results missing: {outcome.missing_results[:20]}": outcome.missing_results,
        f"{outcome.duplicates} run again": outcome.duplicates
        > outcome.sigkills * ALLOWED[outcome.pool],
        f"ran again without a kill: {outcome.unexplained[:20]}": outcome.unexplained,
        f"two runs at once: {outcome.overlaps[:20]}": outcome.overlaps,
        f"integrity: {outcome.file['integrity']}": outcome.file["integrity"] != "ok",
        f"claimed rows left: {outcome.file['claimed']}": outcome.file["claimed"],
        f"messages left: {outcome.file['messages']}": outcome.file["messages"],
        f"processes left: {outcome.orphans}": outcome.orphans,
        f"write-ahead log deleted in use: {outcome.deleted_wal[:5]}": outcome.deleted_wal,
        "no kill hit a running task": not outcome.kills,
    }
    return [text for text, is_wrong in wrong.items() if is_wrong]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--pool", choices=AIMS, default="prefork")
    parser.add_argument("--longest", type=float, default=50.0, help="milliseconds of a task")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between kills")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="celeriac-kill-") as directory:
        test = KillTest(
            Path(directory),
            arguments.seed,
            arguments.tasks,
            pool=arguments.pool,
            longest=arguments.longest,
        )
        outcome = test.run(every=arguments.every, patience=1800.0)
    print(outcome.report())
    wrong = complaints(outcome)
    print("\n".join(wrong) if wrong else "nothing lost")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
