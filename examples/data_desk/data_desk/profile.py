"""Profile a CSV column by column in one pass, in batches of rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from .cell import CellReader, Kind
from .column import Column
from .csv_file import DELIMITERS, Format, UnreadableFile, detect, rows

BATCH_ROWS = 2000
BATCH_CELLS = 100_000
MAX_COLUMNS = 256
MAX_NAME = 120

Progress = Callable[[int, int], None]


@dataclass
class Profile:
    """What a file holds."""

    layout: Format
    columns: list[Column] = field(default_factory=list)
    rows: int = 0
    short_rows: int = 0
    long_rows: int = 0
    first_ragged_line: int = 0
    notes: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """The profile as plain data, ready for JSON."""
        return {
            "rows": self.rows,
            "columns": [column.summary() for column in self.columns],
            "ragged_rows": self.short_rows + self.long_rows,
            "delimiter": DELIMITERS[self.layout.delimiter],
            "encoding": self.layout.encoding,
            "notes": [*self.layout.notes, *self.notes, *self._ragged(), *self._ambiguous()],
        }

    def _ragged(self) -> list[str]:
        found = []
        if self.short_rows:
            found.append(
                f"{_rows(self.short_rows)} fewer cells than the header; the rest counts as missing."
            )
        if self.long_rows:
            found.append(
                f"{_rows(self.long_rows)} more cells than the header; the extra ones were left out."
            )
        if found:
            found[-1] += f" The first such row ends in line {self.first_ragged_line:,}."
        return found

    def _ambiguous(self) -> list[str]:
        return [
            f"Dates in “{column.name}” were read as day/month/year; nothing in the file tells."
            for column in self.columns
            if column.reader.ambiguous_dates and column.kind in (Kind.DATE, Kind.MOMENT)
        ]


class ProfileBuilder:
    """Takes rows and keeps the profile."""

    def __init__(self, layout: Format) -> None:
        self.profile = Profile(layout)
        self._batch: list[list[str]] = []
        self._width = 0
        self._batch_rows = BATCH_ROWS

    def start(self, first: list[str]) -> None:
        """Take the first row: the header, unless it is plainly a row of values."""
        profile = self.profile
        self._width = min(len(first), MAX_COLUMNS)
        self._batch_rows = max(50, min(BATCH_ROWS, BATCH_CELLS // self._width))
        if self._width < len(first):
            profile.notes.append(
                f"Only the first {MAX_COLUMNS} of {len(first):,} columns were profiled."
            )
        headless = _is_values(first)
        names = [f"column {number}" for number in range(1, self._width + 1)]
        if headless:
            profile.notes.append(
                "The first line holds values, not names, so the columns are numbered."
            )
        else:
            names = _unique_names(first[: self._width], profile.notes)
        comma = profile.layout.delimiter == ";"
        profile.columns = [Column(name, decimal_comma=comma) for name in names]
        self._expected = len(first)
        if headless:
            self.add(1, first)

    def add(self, line: int, cells: list[str]) -> bool:
        """Take a row; true when it completed a batch."""
        profile = self.profile
        if len(cells) != self._expected:
            profile.first_ragged_line = profile.first_ragged_line or line
            if len(cells) < self._expected:
                profile.short_rows += 1
            else:
                profile.long_rows += 1
        profile.rows += 1
        self._batch.append(cells)
        if len(self._batch) < self._batch_rows:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        columns = zip_longest(*(cells[: self._width] for cells in self._batch), fillvalue="")
        by_column = dict(enumerate(columns))
        blank = [""] * len(self._batch)
        for index, column in enumerate(self.profile.columns):
            column.update(list(by_column.get(index, blank)))
        self._batch.clear()


def profile_file(path: Path, progress: Progress, *, rows_per_second: float = 0) -> Profile:
    """Profile a file, calling ``progress(lines read, lines)`` after every batch.

    :param rows_per_second: read no faster than this, so that progress can be watched (0: no limit).
    :raises UnreadableFile: when it is not a CSV; the message is meant for who uploaded it.
    """
    layout = detect(path)
    progress(0, layout.lines)
    builder = ProfileBuilder(layout)
    started = time.monotonic()
    reading = rows(path, layout)
    _, first = next(reading, (0, None))
    if first is None:
        raise UnreadableFile("The file has no rows. Upload a CSV with at least a header line.")
    builder.start(first)
    for line, cells in reading:
        if builder.add(line, cells):
            progress(line, layout.lines)
            if rows_per_second:
                ahead = builder.profile.rows / rows_per_second - (time.monotonic() - started)
                time.sleep(max(0.0, ahead))
    builder.flush()
    progress(layout.lines, layout.lines)
    if not builder.profile.rows:
        builder.profile.notes.append("The file has a header and no rows.")
    return builder.profile


def _rows(count: int) -> str:
    return "1 row has" if count == 1 else f"{count:,} rows have"


def _is_values(first: list[str]) -> bool:
    """A first row without a single name; years are names (of a table with one column per year)."""
    kinds = set()
    years = True
    for text in map(str.strip, first):
        kind, value = CellReader(decimal_comma=False).read(text)
        kinds.add(kind)
        years = years and kind is Kind.INTEGER and 1800 <= value <= 2200
    return bool(kinds & {Kind.INTEGER, Kind.NUMBER, Kind.DATE, Kind.MOMENT}) and not (
        Kind.TEXT in kinds or years
    )


def _unique_names(header: list[str], notes: list[str]) -> list[str]:
    names: list[str] = []
    unnamed = repeated = 0
    taken: set[str] = set()
    for number, cell in enumerate(header, 1):
        name = " ".join(cell.split())[:MAX_NAME]
        if not name:
            unnamed += 1
            name = f"column {number}"
        wanted, turn = name, 1
        while name in taken:
            turn += 1
            name = f"{wanted} ({turn})"
        repeated += turn > 1
        taken.add(name)
        names.append(name)
    if unnamed:
        notes.append(f"{unnamed} {'column has' if unnamed == 1 else 'columns have'} no name.")
    if repeated:
        notes.append(
            f"{repeated} repeated column {'name was' if repeated == 1 else 'names were'} numbered."
        )
    return names
