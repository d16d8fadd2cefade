"""Enqueues the kill test's tasks, and writes down each one that the broker acknowledged."""

from __future__ import annotations

import os
import random
import sys

from tests.system.ledger import Ledger
from tests.system.tasks import LEDGER, URL, make_app


def task_id(seed: int, number: int) -> str:
    return f"kill-{seed}-{number}"


def produce(ledger: Ledger, seed: int, count: int, longest: float) -> None:
    chance = random.Random(seed)
    work = make_app(os.environ[URL]).tasks["work"]
    for number in range(count):
        work.apply_async(
            (number, chance.uniform(0, longest)), task_id=task_id(seed, number), retry=True
        )
        ledger.write("acked", number)


if __name__ == "__main__":
    produce(Ledger(os.environ[LEDGER]), int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
