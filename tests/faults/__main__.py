"""Faults at full length: ``make faults``, ``RECIPES="kill hammer"``, ``SCALE=0.1`` for less."""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import seed as reproduce
from hypothesis.stateful import run_state_machine_as_test

from tests.faults import statements as each
from tests.faults import stops, sweep, tracing
from tests.faults.hammer import hammer
from tests.faults.opening import measure
from tests.properties.test_queue import QueueMachine

Say = Callable[[str], None]
#: Runs for each system call at scale 1: every one.
RUNS = 400
MESSAGES = 60_000
EXAMPLES = 1_000


def kill(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """SIGKILL at a system call."""
    return _sweep(folder, seed, scale, say, sweep.kills)


def errors(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """EIO and ENOSPC for a while, from a system call on."""
    return _sweep(folder, seed, scale / 10, say, sweep.errors)


def _sweep(folder: Path, seed: int, scale: float, say: Say, choose: sweep.Choose) -> list[str]:
    if reason := tracing.missing():
        return [reason]
    return sweep.sweep(folder, seed, max(1, round(RUNS * scale)), choose, say)


def statements(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """SIGKILL, and then errors, at every system call of every statement."""
    if reason := tracing.missing():
        return [reason]
    wrong = []
    for choose in (each.kills, each.errors):
        wrong += each.sweep(folder / choose.__name__, seed, scale, choose, say)
    return wrong


def stop(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """Warm, cold and soft shutdowns of each pool, in the middle of short tasks."""
    return stops.sweep(folder, seed, stops.EVERY, max(1, round(5 * scale)), say)


def queue(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """Hypothesis looks for an order of calls that a list would not take."""
    chosen = settings(
        max_examples=max(1, round(EXAMPLES * scale)),
        stateful_step_count=80,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    try:
        run_state_machine_as_test(reproduce(seed)(QueueMachine), settings=chosen)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
        return ["".join(traceback.format_exception(error))]
    return []


def pound(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """Eight processes at one file."""
    return hammer(folder, round(MESSAGES * scale), say)


def opening(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """How long opening takes; a figure only."""
    return measure(folder, max(5, round(50 * scale)), say)


RECIPES = {
    "kill": kill,
    "errors": errors,
    "statements": statements,
    "stop": stop,
    "queue": queue,
    "hammer": pound,
    "open": opening,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.faults", description=__doc__)
    parser.add_argument("recipes", nargs="*", choices=[*RECIPES, []], metavar="|".join(RECIPES))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments = parser.parse_args()
    logging.getLogger("flask_celeriac").setLevel(logging.CRITICAL)
    print(f"seed {arguments.seed}", flush=True)
    wrong = []
    with tempfile.TemporaryDirectory(prefix="celeriac-faults-") as directory:
        for name in arguments.recipes or RECIPES:
            began = time.monotonic()
            folder = Path(directory) / name
            say = partial(print, f"{name}:", flush=True)
            found = RECIPES[name](folder, arguments.seed, arguments.scale, say)
            say(f"{len(found)} wrong in {time.monotonic() - began:.0f} s")
            wrong += [f"{name}: {text}" for text in found]
    print("\n".join(wrong) if wrong else "nothing lost")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
