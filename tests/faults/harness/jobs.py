"""What the processes of a system do: a worker, a producer, what is asked of its application."""

from __future__ import annotations

import importlib
import random
import time
from typing import Any

from tests.faults.harness import tasks
from tests.faults.harness.setup import Setup

#: Seconds a producer waits after it was refused.
PAUSE = 0.05


def app() -> Any:
    return importlib.import_module(Setup.read().app).app


def worker(*options: str) -> None:
    app().worker_main(["worker", "-l", "INFO", *options])


def prepare() -> None:
    module = importlib.import_module(Setup.read().app)
    module.prepare()


def produce(seed: int, first: int, count: int, longest: float, rate: float, name: str) -> None:
    """Enqueue, and write down what was attempted and what was acknowledged.

    :param longest: milliseconds of a task.
    :param rate: tasks a second, 0 for as many as possible.
    """
    chance = random.Random(seed)
    task = app().tasks[name]
    begun = time.monotonic()
    for number in range(first, first + count):
        if rate:
            time.sleep(max(0.0, begun + (number - first) / rate - time.monotonic()))
        tasks.note("attempt", number)
        try:
            task.apply_async(
                (number, chance.uniform(0, longest)), task_id=tasks.task_id(seed, number)
            )
        except Exception as error:  # noqa: BLE001 - refused in whatever words: it does not count
            print(f"task {number} was refused: {error!r}", flush=True)
            time.sleep(PAUSE)
        else:
            tasks.note("acked", number)
