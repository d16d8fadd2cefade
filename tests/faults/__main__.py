"""Faults at full length: ``make faults``, ``RECIPES="kill hammer"``, ``SCALE=0.1`` for less."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.faults import sweep, victim
from tests.faults.hammer import hammer
from tests.faults.opening import measure

Say = Callable[[str], None]
#: Runs for each system call at scale 1: every one.
RUNS = 400
MESSAGES = 60_000


def kill(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """SIGKILL at a system call."""
    return _sweep(folder, seed, scale, say, sweep.kills)


def errors(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """EIO and ENOSPC for a while, from a system call on."""
    return _sweep(folder, seed, scale / 10, say, sweep.errors)


def _sweep(folder: Path, seed: int, scale: float, say: Say, choose: sweep.Choose) -> list[str]:
    if reason := victim.missing():
        return [reason]
    return sweep.sweep(folder, seed, max(1, round(RUNS * scale)), choose, say)


def pound(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """Eight processes at one file."""
    return hammer(folder, round(MESSAGES * scale), say)


def opening(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """How long opening takes; a figure only."""
    return measure(folder, max(5, round(50 * scale)), say)


RECIPES = {"kill": kill, "errors": errors, "hammer": pound, "open": opening}


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.faults", description=__doc__)
    parser.add_argument("recipes", nargs="*", choices=[*RECIPES, []], metavar="|".join(RECIPES))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    arguments = parser.parse_args()
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
