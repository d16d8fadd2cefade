"""Faults at full length: ``make faults``, ``RECIPES="T1 T12 hammer"``, ``SCALE=0.1`` for less."""

from __future__ import annotations

import argparse
import contextlib
import logging
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.harness import matrix
from tests.faults.harness.checker import Cell
from tests.faults.harness.systems import SYSTEMS
from tests.faults.harness.zygote import Zygote
from tests.faults.recipes.modules import BY_NAME, MODULES
from tests.faults.recipes.table import RECIPES
from tests.system.workers import ROOT

NUMBERS = list(dict.fromkeys([*(r.number for r in RECIPES), *(m.number for m in MODULES)]))
NUMBERS.sort(key=lambda number: int(number[1:]))
PAGE = ROOT / "docs" / "reliability.md"
#: Everything that is run when nothing is named: what has a number, and what has none.
ALL = [*NUMBERS, "queue"]


def cells(
    names: list[str], systems: list[str], seed: int, scale: float, folder: Path
) -> Iterator[Cell]:
    """Run recipes, one after the other."""
    with contextlib.ExitStack() as stack:
        zygotes = {
            flavour: stack.enter_context(contextlib.closing(Zygote(flavour)))
            for flavour in ("ours", "stock")
        }
        count = 0
        for name in names:
            for recipe in (recipe for recipe in RECIPES if recipe.number == name):
                for system in recipe.systems:
                    if not systems or str(system) in systems:
                        count += 1
                        where, zygote = folder / str(count), zygotes[system.zygote]
                        yield recipe.cell(system, where, zygote, seed, scale)
            chosen = [BY_NAME[name]] if name in BY_NAME else MODULES
            for module in chosen:
                wanted = name in BY_NAME or module.number == name
                if wanted and (not systems or module.system in systems):
                    count += 1
                    say = partial(print, f"{name}:", flush=True)
                    yield module.cell(folder / str(count), seed, scale, say)


def _stop(*_: object) -> None:
    """End with nothing left behind, however often it is asked."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit("stopped")


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.faults", description=__doc__)
    known = [*NUMBERS, *BY_NAME]
    parser.add_argument("recipes", nargs="*", choices=[*known, []], metavar="|".join(known))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    systems = list(dict.fromkeys([*map(str, SYSTEMS), *(m.system for m in MODULES)]))
    parser.add_argument(
        "--system", action="append", default=[], choices=systems, help="only this one, and others"
    )
    parser.add_argument("--logs", action="store_true", help="print what failed systems wrote")
    parser.add_argument("--write-docs", action="store_true", help="put the matrix into the page")
    arguments = parser.parse_args()
    logging.getLogger("flask_celeriac").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, _stop)
    print(f"seed {arguments.seed}", flush=True)
    done, wrong = [], []
    with tempfile.TemporaryDirectory(prefix="celeriac-faults-") as directory:
        folder = Path(directory)
        names = arguments.recipes or ALL
        for cell in cells(names, arguments.system, arguments.seed, arguments.scale, folder):
            print(f"{cell.recipe}, {cell.system}: {cell.report()}", flush=True)
            if arguments.logs and cell.complaints():
                print(cell.logs)
            done.append(cell)
            wrong += [f"{cell.recipe}, {cell.system}: {text}" for text in cell.complaints()]
    print(f"\n{matrix.as_text(done)}\n")
    if arguments.write_docs:
        matrix.write(PAGE, done, arguments.scale, ALL)
    print("\n".join(wrong) if wrong else "nothing lost")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
