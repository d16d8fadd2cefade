"""The entries of ``beat_schedule``, checked before beat meets them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from celery.schedules import BaseSchedule

from ..config import Settings
from ..errors import ConfigError
from ..spelling import did_you_mean
from .entry import parse

#: What Celery's beat takes; of another scheduler an entry may have more.
_KEYS = ("task", "schedule", "args", "kwargs", "options", "relative")
#: What a task is sent with.
_ARGUMENTS: tuple[tuple[str, tuple[type, ...], str], ...] = (
    ("args", (list, tuple), "a list"),
    ("kwargs", (Mapping,), "a mapping from names to values"),
    ("options", (Mapping,), "a mapping, such as {'queue': 'mail'}"),
)


def complete(settings: Settings) -> None:
    """Check each entry of ``beat_schedule``, and read the texts among the schedules as cron fields.

    :raises ConfigError: beat would stop at one, or send without end
    """
    entries = settings.celery.get("beat_schedule")
    if not isinstance(entries, Mapping) or not entries:
        return
    own = settings.celery.get("beat_scheduler")
    settings.celery["beat_schedule"] = {
        name: _completed(f"{settings.origins['beat_schedule']}, entry {name!r}", entry, own)
        for name, entry in entries.items()
    }


def _completed(where: str, entry: Any, scheduler: object) -> Any:
    if not isinstance(entry, Mapping):
        if hasattr(entry, "schedule"):  # an entry as beat makes it
            return entry
        raise ConfigError(f"{where}: it is {entry!r}, not a mapping with `task` and `schedule`")
    if not scheduler:
        _check_keys(where, entry)
    for key, kinds, wanted in _ARGUMENTS:
        if entry.get(key) is not None and not isinstance(entry[key], kinds):
            raise ConfigError(f"{where}: {key} takes {wanted}, not {entry[key]!r}")
    schedule = entry.get("schedule")
    if not isinstance(schedule, (str, int, float, timedelta, BaseSchedule)):
        return entry  # an object that the scheduler knows
    try:
        read = parse(schedule)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return {**entry, "schedule": read} if isinstance(schedule, str) else entry


def _check_keys(where: str, entry: Mapping[Any, Any]) -> None:
    for key in entry:
        if key not in _KEYS:
            hint = did_you_mean(str(key), _KEYS, f"there are {', '.join(_KEYS)}")
            raise ConfigError(f"{where}: there is no {key!r}: {hint}")
    for key in ("task", "schedule"):
        if entry.get(key) is None:
            raise ConfigError(f"{where}: it has no {key!r}")
