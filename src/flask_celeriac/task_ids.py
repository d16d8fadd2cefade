"""Ids of tasks, in the order in which the tasks were sent."""

from __future__ import annotations

import os
import time

#: Nanoseconds in a millisecond, and what fits into the twelve bits after it.
_MILLISECOND, _PARTS = 1_000_000, 4096
_VERSION, _VARIANT = 0x7000, 0x8000_0000_0000_0000


def new_id() -> str:
    """An id for a task: a UUID of version 7, as text.

    The time to a quarter of a microsecond, and 62 random bits. Rows that are written one after the
    other are so neighbours in every index of ids, where Celery's random ones each touch a page of
    their own.

    Follows :rfc:`9562`, section 5.7, and section 6.2, method 3, for the time below a millisecond.

    .. versionadded:: 0.1
    """
    milliseconds, rest = divmod(time.time_ns(), _MILLISECOND)
    high = milliseconds << 16 | _VERSION | rest * _PARTS // _MILLISECOND
    low = _VARIANT | int.from_bytes(os.urandom(8), "big") >> 2
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
