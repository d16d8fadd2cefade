"""Count moments per minute, hour, day, month or year: the finest unit that stays small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from .cell import moment

MAX_BUCKETS = 2000
UNITS: tuple[tuple[str, Callable[[datetime], datetime]], ...] = (
    ("minute", lambda at: at.replace(second=0, microsecond=0)),
    ("hour", lambda at: at.replace(minute=0, second=0, microsecond=0)),
    ("day", lambda at: at.replace(hour=0, minute=0, second=0, microsecond=0)),
    ("month", lambda at: at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)),
    ("year", lambda at: at.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)),
)
SPANS = {"minute": 60, "hour": 3600, "day": 86400, "month": 30.4 * 86400, "year": 365.25 * 86400}


class TimeBuckets:
    """Exact counts per unit of time; the unit grows when the span does."""

    def __init__(self) -> None:
        self._level = 0
        self._counts: Counter[datetime] = Counter()

    def update(self, values: Sequence[float], times: Sequence[int]) -> None:
        for value, count in zip(values, times, strict=True):
            self._counts[UNITS[self._level][1](moment(value))] += count
            if len(self._counts) > MAX_BUCKETS and self._level < len(UNITS) - 1:
                self._coarsen()

    def _coarsen(self) -> None:
        self._level += 1
        merged: Counter[datetime] = Counter()
        for start, times in self._counts.items():
            merged[UNITS[self._level][1](start)] += times
        self._counts = merged

    def series(
        self, most: int, within: tuple[float, float] | None = None
    ) -> tuple[str, list[tuple[datetime, int]]]:
        """The unit, and ``(start, count)`` of every bucket, in about ``most`` buckets at most.

        :param within: seconds since 1970; leave out what is outside.
        """
        if not self._counts:
            return UNITS[self._level][0], []
        first, last = (moment(value) for value in within) if within else self._ends()
        while self._level < len(UNITS) - 1 and (last - first).total_seconds() > most * self._span:
            self._coarsen()
        unit, start_of = UNITS[self._level]
        at, end = max(start_of(first), self._ends()[0]), min(last, self._ends()[1])
        series = []
        while at <= end:
            series.append((at, self._counts[at]))
            try:
                at = _next(unit, at)
            except (OverflowError, ValueError):
                break  # the year 9999 has no successor
        return unit, series

    @property
    def _span(self) -> float:
        return SPANS[UNITS[self._level][0]]

    def _ends(self) -> tuple[datetime, datetime]:
        return min(self._counts), max(self._counts)


def _next(unit: str, at: datetime) -> datetime:
    if unit == "year":
        return at.replace(year=at.year + 1)
    if unit == "month":
        return at.replace(year=at.year + at.month // 12, month=at.month % 12 + 1)
    return at + timedelta(seconds=SPANS[unit])
