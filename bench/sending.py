"""The ways of sending that are measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import psutil

from .sample import Sample

#: Calls before anything is timed: the first ones connect, declare and import.
WARM_UP = 20
#: The second argument of all calls.
ADDED = 2
#: What tasks that wait are given: if one ran, the sum of what was run would show it.
FAR_OFF = 10**9


def one_by_one(task: Any, count: int, sample: Sample) -> dict[str, Any]:
    """Send with ``delay``."""
    _warm_up(task, sample)
    cpu, began = time.process_time(), time.perf_counter()
    for number in range(WARM_UP, count):
        sample.keep(number, task.delay(number, ADDED).id)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    timed = count - WARM_UP
    return {"enqueue_per_s": timed / seconds, "enqueue_cpu_us": cpu / timed * 1e6}


def in_bulk(task: Any, count: int, sample: Sample) -> dict[str, Any]:
    """Send with ``delay_many``."""
    _warm_up(task, sample)
    numbers, memory = range(WARM_UP, count), Memory()
    began = time.perf_counter()
    sent = task.delay_many(memory.watched(numbers), ids=sample.ids(numbers))
    seconds = time.perf_counter() - began
    return {"bulk_per_s": sent / seconds, "bulk_memory_mib": memory.growth() / 2**20}


def later(task: Any, count: int) -> None:
    """Send tasks that will not be due for a day."""
    eta = datetime.now(timezone.utc) + timedelta(days=1)
    with task.app.producer_pool.acquire(block=True) as producer, producer.batch(max_size=500):
        for _ in range(count):
            task.apply_async((FAR_OFF, ADDED), eta=eta, producer=producer)


def _warm_up(task: Any, sample: Sample) -> None:
    for number in range(WARM_UP):
        sample.keep(number, task.delay(number, ADDED).id)


class Memory:
    """The memory of this process, looked at while calls are made."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._most = self._now()

    def watched(self, numbers: range) -> Iterator[tuple[int, int]]:
        """The arguments of calls."""
        for number in numbers:
            if number % 1_000 == 0:
                self._look()
            yield number, ADDED

    def growth(self) -> int:
        """Bytes that it has had more than in the beginning, at most."""
        self._look()
        return self._most - self._before

    def _look(self) -> None:
        self._most = max(self._most, self._now())

    def _now(self) -> int:
        return int(self._process.memory_info().rss)
