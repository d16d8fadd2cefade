"""The profile of one column, built batch by batch."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from typing import Any

from .cell import CellReader, Kind, moment
from .sketches import Numbers, Values
from .time_buckets import TimeBuckets

TOP_VALUES = 8
BARS = 24
FITTING_SHARE = 0.98
QUANTILES = (0.25, 0.5, 0.75)
NUMERIC = (Kind.INTEGER, Kind.NUMBER)
TEMPORAL = (Kind.DATE, Kind.MOMENT)


class Column:
    """What is known of a column so far."""

    def __init__(self, name: str, *, decimal_comma: bool = False) -> None:
        self.name = name
        self.reader = CellReader(decimal_comma=decimal_comma)
        self.kinds: Counter[Kind] = Counter()
        self.values = Values()
        self.numbers: Numbers | None = None
        self.moments: Numbers | None = None
        self.buckets: TimeBuckets | None = None
        self.longest = 0

    def update(self, cells: list[str]) -> None:
        """Take the cells of some more rows."""
        counts = Counter(map(str.strip, cells))
        self.kinds[Kind.MISSING] += counts.pop("", 0)
        texts = list(counts)
        if texts and (read_at_once := self.reader.read_numbers(texts)):
            kind, numbers = read_at_once
            self.kinds[kind] += counts.total()
            self.values.update(counts)
            self._take_numbers(numbers, list(counts.values()))
        elif texts:
            self._take_any(counts)

    def _take_any(self, counts: Counter[str]) -> None:
        self.reader.learn(list(counts))
        found: dict[Kind, list[tuple[str, float, int]]] = {}
        read = self.reader.read
        for text, times in counts.items():
            kind, value = read(text)
            found.setdefault(kind, []).append((text, value, times))
        for kind, items in found.items():
            self.kinds[kind] += sum(item[2] for item in items)
        missing = {text for text, _, _ in found.pop(Kind.MISSING, ())}
        present = {text: times for text, times in counts.items() if text not in missing}
        self.longest = max(self.longest, max(map(len, present), default=0))
        self.values.update(present)
        for kinds, take in ((NUMERIC, self._take_numbers), (TEMPORAL, self._take_moments)):
            if items := [item for kind in kinds for item in found.get(kind, ())]:
                take([item[1] for item in items], [item[2] for item in items])

    def _take_numbers(self, values: list[float], times: list[int]) -> None:
        self.numbers = self.numbers or Numbers()
        self.numbers.update(values, times)

    def _take_moments(self, values: list[float], times: list[int]) -> None:
        self.moments = self.moments or Numbers()
        self.moments.update(values, times)
        self.buckets = self.buckets or TimeBuckets()
        self.buckets.update(values, times)

    @property
    def present(self) -> int:
        return self.kinds.total() - self.kinds[Kind.MISSING]

    @property
    def kind(self) -> Kind:
        """The kind of nearly all cells: text if they disagree, missing if there are none."""
        if not self.present:
            return Kind.MISSING
        needed = FITTING_SHARE * self.present
        if self.kinds[Kind.BOOLEAN] >= needed:
            return Kind.BOOLEAN
        if sum(self.kinds[kind] for kind in NUMERIC) >= needed:
            return Kind.NUMBER if self.kinds[Kind.NUMBER] else Kind.INTEGER
        if sum(self.kinds[kind] for kind in TEMPORAL) >= needed:
            return Kind.MOMENT if self.kinds[Kind.MOMENT] else Kind.DATE
        return Kind.TEXT

    @property
    def misfits(self) -> int:
        """Cells that are there and are not of the column's kind."""
        groups = {
            Kind.INTEGER: NUMERIC,
            Kind.NUMBER: NUMERIC,
            Kind.DATE: TEMPORAL,
            Kind.MOMENT: TEMPORAL,
            Kind.BOOLEAN: (Kind.BOOLEAN,),
        }
        group = groups.get(self.kind)
        return self.present - sum(self.kinds[kind] for kind in group) if group else 0

    def median(self) -> tuple[float, bool]:
        """The median of a column of numbers, and whether it is estimated."""
        assert self.numbers is not None
        quantiles, approximate = self._quantiles(self.numbers, NUMERIC)
        return quantiles["0.5"], approximate

    def summary(self) -> dict[str, Any]:
        """The profile as plain data, ready for JSON."""
        distinct = self.values.distinct()
        # An estimate may be a little above what is possible.
        distinct = replace(distinct, count=min(distinct.count, self.present))
        known: dict[str, Any] = {
            "name": self.name,
            "type": self.kind.value,
            "missing": self.kinds[Kind.MISSING],
            "present": self.present,
            "misfits": self.misfits,
            "distinct": asdict(distinct),
            "top": [{"value": text, **asdict(count)} for text, count in self.top()],
        }
        if self.kind in NUMERIC:
            known |= self._numbers()
        elif self.kind in TEMPORAL:
            known |= self._moments()
        elif self.kind is Kind.TEXT:
            known["longest"] = self.longest
        return known

    def top(self) -> list[tuple[str, Any]]:
        """The most frequent values, or none when no value comes twice."""
        top = self.values.top(TOP_VALUES)
        return [] if not top or top[0][1].count < 2 < self.present else top

    def _numbers(self) -> dict[str, Any]:
        assert self.numbers is not None
        whole = self.kind is Kind.INTEGER
        edges, bars = self.numbers.histogram(BARS)
        quantiles, approximate = self._quantiles(self.numbers, NUMERIC)
        return {
            "min": _plain(self.numbers.smallest, whole),
            "max": _plain(self.numbers.largest, whole),
            "mean": self.numbers.mean,
            "quantiles": {rank: _plain(value, whole) for rank, value in quantiles.items()},
            "quantiles_approximate": approximate,
            "histogram": {"from": edges[0], "to": edges[-1], "bars": bars},
        }

    def _moments(self) -> dict[str, Any]:
        assert self.moments is not None
        edges, bars = self.moments.histogram(BARS)
        quantiles, approximate = self._quantiles(self.moments, TEMPORAL)
        return {
            "min": self._written(self.moments.smallest),
            "max": self._written(self.moments.largest),
            "quantiles": {rank: self._written(value) for rank, value in quantiles.items()},
            "quantiles_approximate": approximate,
            "histogram": {
                "from": self._written(edges[0]),
                "to": self._written(edges[-1]),
                "bars": bars,
            },
        }

    def _quantiles(
        self, numbers: Numbers, kinds: tuple[Kind, ...]
    ) -> tuple[dict[str, float], bool]:
        if not numbers.approximate or not self.values.exact:
            return {f"{rank:g}": numbers.quantile(rank) for rank in QUANTILES}, numbers.approximate
        # Few different values: how often each came is known exactly, and so are the quantiles.
        read = ((self.reader.read(text), times) for text, times in self.values.counts().items())
        ordered = sorted((value, times) for (kind, value), times in read if kind in kinds)
        found: dict[str, float] = {}
        passed, ranks = 0, list(QUANTILES)
        for value, times in ordered:
            passed += times
            while ranks and passed >= ranks[0] * numbers.count:
                found[f"{ranks.pop(0):g}"] = value
        return found, False

    def _written(self, value: float) -> str:
        at = moment(value)
        return at.date().isoformat() if self.kind is Kind.DATE else at.isoformat(" ", "seconds")


def _plain(value: float, whole: bool) -> float | int:
    return round(value) if whole else value
