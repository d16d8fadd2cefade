"""How numbers, sizes and times are written on pages and in mails."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Flask

from .models import now


def number(value: Any) -> str:
    """A number as people read it: 1,234,567 or 0.5; anything else as it is."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    # Five digits are enough of a fraction; of a whole part every digit counts, up to a point.
    text = f"{value:,.0f}" if 1e5 <= abs(value) < 1e15 or value == int(value) else f"{value:,.5g}"
    if abs(value) >= 1e15:
        text = f"{value:.5g}"
    return text.replace("-", "\N{MINUS SIGN}")


def size(value: int) -> str:
    """A number of bytes: 1.7 MB."""
    amount = float(value)
    for unit in ("bytes", "KB", "MB"):
        if amount < 1000:
            return (
                f"{amount:,.0f} {unit}"
                if unit == "bytes" or amount >= 100
                else f"{amount:.1f} {unit}"
            )
        amount /= 1000
    return f"{amount:.1f} GB"


def percent(part: int, whole: int) -> str:
    """A share: 12 %, or <1 % when it is little and not nothing."""
    if not whole or not part:
        return "0 %"
    share = 100 * part / whole
    if share < 1:
        return "<1 %"
    return ">99 %" if 99 < share < 100 else f"{share:.0f} %"


def ago(moment: datetime) -> str:
    """How long ago a moment was."""
    passed = max(0, int((now() - moment).total_seconds()))
    for limit, length, unit in ((60, 1, "second"), (3600, 60, "minute"), (86400, 3600, "hour")):
        if passed < limit:
            count = passed // length
            return (
                "just now"
                if count < 5 and unit == "second"
                else f"{count} {unit}{'s' * (count != 1)} ago"
            )
    return moment.strftime("%d %b %Y")


def duration(seconds: float) -> str:
    """How long something took."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.0f} min {seconds % 60:.0f} s"


def init_app(app: Flask) -> None:
    """Make them filters of the templates."""
    for function in (number, size, percent, ago, duration):
        app.add_template_filter(function)
