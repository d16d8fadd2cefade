"""What one cell of a CSV is: missing, a number, a date, or text."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from enum import Enum
from functools import partial


class Kind(str, Enum):
    """What a cell, or a whole column, holds."""

    MISSING = "missing"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    MOMENT = "date/time"
    TEXT = "text"

    # The one of Enum is written in Python, and every cell of a file passes here.
    __hash__ = str.__hash__


MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", "."})
BOOLEANS = {
    "true": 1.0,
    "yes": 1.0,
    "t": 1.0,
    "y": 1.0,
    "false": 0.0,
    "no": 0.0,
    "f": 0.0,
    "n": 0.0,
}
INTEGER = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,14})")
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?")
DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
# One match over a whole column's batch: several times faster than a match for every cell.
PLAIN_NUMBERS = re.compile(r"(?:[+-]?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?\n)+")
LEADING_ZEROS = re.compile(r"[+-]?0[0-9]+")
ISO = re.compile(
    r"([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})"
    r"(?:[T ]([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,][0-9]{1,9})?)?"
    r" ?(Z|UTC|[+-][0-9]{2}:?[0-9]{2})?)?"
)
LOCAL = re.compile(
    r"([0-9]{1,2})([/.-])([0-9]{1,2})\2([0-9]{4})(?:[T ]([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?)?"
)
EPOCH = datetime(1970, 1, 1)
LARGEST = 1e100


def seconds(moment: datetime) -> float:
    """Seconds since 1970 in UTC; a moment without a zone is taken as UTC."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return (moment - EPOCH).total_seconds()


def moment(value: float) -> datetime:
    """The moment, without a zone, of seconds since 1970."""
    return EPOCH + timedelta(seconds=value)


class CellReader:
    """Reads the cells of one column; decimal comma and order of day and month are the column's."""

    def __init__(self, *, decimal_comma: bool) -> None:
        self.decimal_comma = decimal_comma
        self.day_first: bool | None = None
        self._learned = False
        self.ambiguous_dates = False

    def read(self, text: str) -> tuple[Kind, float]:
        """Return the kind of a stripped cell, and its value (seconds for dates, else 0)."""
        if len(text) <= 5:
            lowered = text.lower()
            if lowered in MISSING:
                return Kind.MISSING, 0.0
            if lowered in BOOLEANS:
                return Kind.BOOLEAN, BOOLEANS[lowered]
        # Most text is told from one character; only cells with a digit near the start can be more.
        if len(text) > 40 or not (text[0] in "+-." or "0" <= text[0] <= "9"):
            return Kind.TEXT, 0.0
        return self._number(text) or self._date(text) or (Kind.TEXT, 0.0)

    def read_numbers(self, texts: list[str]) -> tuple[Kind, list[float]] | None:
        """Read cells that are all plain numbers, or None when they are not."""
        joined = "\n".join(texts) + "\n"
        if not PLAIN_NUMBERS.fullmatch(joined):
            return None
        return Kind.NUMBER if "." in joined else Kind.INTEGER, list(map(float, texts))

    def learn(self, texts: list[str]) -> None:
        """Decide from a column's first cells whether 03/04/2025 is in March or in April."""
        if self._learned or not any(texts):
            return
        self._learned = True
        matches = [match for text in texts if (match := LOCAL.fullmatch(text))]
        if not matches:
            return
        first = max(int(match[1]) for match in matches)
        second = max(int(match[3]) for match in matches)
        self.day_first = first > 12 or second <= 12
        self.ambiguous_dates = first <= 12 and second <= 12 and matches[0][2] != "."

    def _number(self, text: str) -> tuple[Kind, float] | None:
        if INTEGER.fullmatch(text):
            return Kind.INTEGER, float(text)
        if LEADING_ZEROS.fullmatch(text):
            return None  # a code, such as a postal code
        kind = Kind.NUMBER
        if self.decimal_comma and DECIMAL_COMMA.fullmatch(text):
            text = text.replace(",", ".")
        elif not self.decimal_comma and GROUPED.fullmatch(text):
            text = text.replace(",", "")
            kind = Kind.NUMBER if "." in text else Kind.INTEGER
        elif not NUMBER.fullmatch(text) or (text.isdigit() and len(text) > 15):
            return None  # longer ones identify something
        value = float(text)
        return (kind, value) if abs(value) < LARGEST else None

    def _date(self, text: str) -> tuple[Kind, float] | None:
        if match := ISO.fullmatch(text):
            year, month, day, hour, minute, second, zone = match.groups()
        elif match := LOCAL.fullmatch(text):
            first, _, other, year, hour, minute, second = match.groups()
            month, day = (other, first) if self.day_first in (True, None) else (first, other)
            zone = None
        else:
            return None
        make = partial(datetime, int(year), int(month), int(day))
        try:
            if hour is None:
                return Kind.DATE, seconds(make())
            value = seconds(make(int(hour), int(minute), int(second or 0)))
        except ValueError:
            return None
        if zone and zone not in ("Z", "UTC"):
            shift = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
            value -= shift if zone[0] == "+" else -shift
        return Kind.MOMENT, value
