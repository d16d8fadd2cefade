"""Times as people type and read them."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Any

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
#: Seconds or days: far beyond what anybody means, and within what clocks and threads can count.
LONGEST = 1e9
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def moment(typed: str) -> float:
    """Understand ``2h`` as two hours ago, and ISO 8601 without a zone as local time.

    :return: seconds since the epoch
    :raises click.BadParameter: it is neither
    """
    if match := _AGO.fullmatch(typed.strip()):
        return time.time() - float(match[1]) * _UNITS[match[2]]
    try:
        return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", typed)).timestamp()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{typed!r} is no time: type how long ago, as in 90s, 15m, 2h, 7d or 1w, or a date or"
            " time as in 2026-01-31 or 2026-01-31T14:30"
        ) from None


def instant(typed: str) -> datetime:
    """Understand ISO 8601 without a zone as local time.

    :raises click.BadParameter: it is something else
    """
    try:
        return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", typed)).astimezone()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{typed!r} is no time: type a date or time as in 2026-01-31 or 2026-01-31T14:30"
        ) from None


class Length(click.FloatRange):
    """A length of time in seconds or days, which ``nan`` and ``inf`` are not."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Understand a number.

        :raises click.BadParameter: it is none, or of no use as a length of time
        """
        number = float(super().convert(value, param, ctx))
        if not number <= LONGEST:  # nan is not more, either
            self.fail(
                f"{value} is no length of time: type a number up to {LONGEST:,.0f}", param, ctx
            )
        return number


def ago(when: float) -> str:
    """How long ago something was, such as ``5m ago``, or how soon it will be, ``in 5m``."""
    seconds = time.time() - when
    return f"{rounded(seconds)} ago" if seconds >= 0 else f"in {rounded(-seconds)}"


def rounded(seconds: float) -> str:
    """A duration in its largest unit, such as ``3d``."""
    seconds = max(0.0, seconds)  # clocks differ
    unit = next((unit for unit in "dhm" if seconds >= _UNITS[unit]), "s")
    return f"{int(seconds // _UNITS[unit])}{unit}"


def duration(seconds: float | None) -> str:
    """A duration as exactly as it is of interest, such as ``12ms``, ``3.4s`` or ``5m 10s``."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def local(when: float) -> str:
    """A moment in local time, and how long ago that was."""
    return f"{clock(when)} {datetime.fromtimestamp(when).astimezone():%z} ({ago(when)})"


def clock(when: float) -> str:
    """A moment in local time."""
    return f"{datetime.fromtimestamp(when).astimezone():%Y-%m-%d %H:%M:%S}"
