"""Answers about a column of any length in a fixed amount of memory: first exact, then estimated.

Apache DataSketches does the hard part: KLL for quantiles, HyperLogLog for distinct values, and the
frequent items sketch, which is an exact count until it runs out of room.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import mul

import numpy as np
from datasketches import (  # type: ignore[import-untyped]
    frequent_items_error_type,
    frequent_strings_sketch,
    hll_sketch,
    kll_doubles_sketch,
)

LONGEST_KEY = 80
MARK = "\x1f"


@dataclass(frozen=True)
class Estimate:
    """A number, and whether it is estimated."""

    count: int
    approximate: bool


class Values:
    """Which values occur, and how often."""

    def __init__(self) -> None:
        self._frequent = frequent_strings_sketch(11)
        self._distinct = hll_sketch(12)

    def update(self, counts: Mapping[str, int]) -> None:
        for text, count in counts.items():
            key = text if len(text) <= LONGEST_KEY else _shortened(text)
            self._frequent.update(key, count)
            self._distinct.update(key)

    @property
    def exact(self) -> bool:
        # The bound of a value that never came is what the sketch forgot: nothing while exact.
        return bool(self._frequent.get_upper_bound(MARK) == 0)

    def distinct(self) -> Estimate:
        if self.exact:
            return Estimate(int(self._frequent.num_active_items), False)
        return Estimate(round(self._distinct.get_estimate()), True)

    def counts(self) -> dict[str, int]:
        """Every value with its count, where that is exact."""
        items = self._frequent.get_frequent_items(frequent_items_error_type.NO_FALSE_POSITIVES)
        return {item[0]: int(item[1]) for item in items}

    def top(self, limit: int) -> list[tuple[str, Estimate]]:
        """The most frequent values, those that are surely among them, most frequent first."""
        items = self._frequent.get_frequent_items(frequent_items_error_type.NO_FALSE_POSITIVES)
        items.sort(key=lambda item: (-item[1], item[0]))
        return [
            (key.split(MARK)[0], Estimate(int(estimate), lower != upper))
            for key, estimate, lower, upper in items[:limit]
        ]


class Numbers:
    """Smallest, largest, mean and quantiles of numbers."""

    def __init__(self) -> None:
        self._sketch = kll_doubles_sketch(1000)
        self._sum = 0.0
        self.count = 0

    def update(self, values: Sequence[float], times: Sequence[int]) -> None:
        repeats = np.array(times, dtype=np.int64)
        self._sketch.update(np.repeat(np.array(values, dtype=np.float64), repeats))
        self._sum = math.fsum((self._sum, *map(mul, values, times)))
        self.count += int(repeats.sum())

    @property
    def approximate(self) -> bool:
        return bool(self._sketch.is_estimation_mode())

    @property
    def smallest(self) -> float:
        return float(self._sketch.get_min_value())

    @property
    def largest(self) -> float:
        return float(self._sketch.get_max_value())

    @property
    def mean(self) -> float:
        return self._sum / self.count

    def quantile(self, rank: float) -> float:
        return float(self._sketch.get_quantile(rank))

    def histogram(self, bars: int) -> tuple[list[float], list[int]]:
        """Edges and counts of bars of equal width; far outliers are in the first and last bar."""
        low, high = self.main_range()
        if low == high:
            return [low, high], [self.count]
        edges = [low + (high - low) * index / bars for index in range(bars + 1)]
        # Without the outer edges: the first and last piece are open to below and above.
        shares = self._sketch.get_pmf(edges[1:-1])
        return edges, [round(share * self.count) for share in shares]

    def main_range(self) -> tuple[float, float]:
        """From the smallest to the largest, or the middle 98 % where a few lie far outside."""
        low, high = self.smallest, self.largest
        inner_low, inner_high = self.quantile(0.01), self.quantile(0.99)
        if inner_high > inner_low and high - low > 4 * (inner_high - inner_low):
            return inner_low, inner_high
        return low, high


def _shortened(text: str) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{text[:LONGEST_KEY]}…{MARK}{digest}"
