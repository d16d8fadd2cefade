"""What ``@celeriac.periodic`` takes, turned into what Celery's beat understands."""

from __future__ import annotations

import copy
import math
from datetime import timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from celery.schedules import BaseSchedule, ParseException, crontab
from celery.schedules import schedule as interval

from ..errors import ConfigError

#: A cron expression of five fields, seconds, an interval, or one of Celery's schedules.
Expression = str | int | float | timedelta | BaseSchedule


class ZonedCrontab(crontab):
    """A crontab whose fields are read in a time zone of its own.

    :param fields: minute, hour, day of week, day of month, month of year
    :param zone: the time zone's name; ``None`` for the application's

    .. versionadded:: 0.1
    """

    def __init__(self, *fields: Any, zone: str | None = None) -> None:
        super().__init__(*fields)
        self.zone = zone

    @property
    def tz(self) -> tzinfo:  # type: ignore[override]  # a cached property in Celery
        """The time zone the fields are read in."""
        return ZoneInfo(self.zone) if self.zone else self.app.timezone

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ZonedCrontab):
            return NotImplemented
        return super().__eq__(other) and self.zone == other.zone

    __hash__ = None  # type: ignore[assignment]  # as Celery's crontab

    def __reduce__(self) -> Any:  # beat stores its entries with pickle
        reduced: Any = super().__reduce__()
        return _restore, (reduced[1], self.zone)


def parse(expression: object, timezone: str | None = None) -> BaseSchedule:
    """The schedule an expression stands for; a new object at every call.

    :param expression: cron fields, seconds, an interval, or a schedule
    :param timezone: name of the zone a cron expression is read in
    :raises ConfigError: the expression or the time zone means nothing, or they do not go together
    """
    if isinstance(expression, str):
        return _cron(expression, timezone)
    if timezone is not None:
        raise ConfigError(
            f"timezone={timezone!r} only goes with a cron expression such as '0 6 * * *', "
            f"not with {expression!r}."
        )
    if isinstance(expression, BaseSchedule):
        every = getattr(expression, "run_every", None)
        if isinstance(every, timedelta) and every <= timedelta(0):
            raise ConfigError(f"{expression!r} is not a schedule: the interval must be positive.")
        return copy.copy(expression)  # beat ties a schedule to one application
    if isinstance(expression, timedelta):
        every = expression
    elif isinstance(expression, (int, float)) and math.isfinite(expression):
        every = timedelta(seconds=expression)
    else:
        raise ConfigError(
            f"{expression!r} is not a schedule: pass five cron fields, seconds, a timedelta or a "
            "Celery schedule."
        )
    if every <= timedelta(0):
        raise ConfigError(f"{expression!r} is not a schedule: the interval must be positive.")
    return interval(every)


def _cron(expression: str, timezone: str | None) -> ZonedCrontab:
    fields = expression.split()
    if len(fields) != 5:
        raise ConfigError(
            f"{expression!r} is not a cron expression: it needs five fields "
            "(minute, hour, day of month, month, day of week), as in '0 6 * * *'."
        )
    minute, hour, day_of_month, month_of_year, day_of_week = fields
    try:
        schedule = ZonedCrontab(
            minute, hour, day_of_week, day_of_month, month_of_year, zone=timezone
        )
    except (ParseException, ValueError) as error:
        raise ConfigError(f"{expression!r} is not a cron expression: {error}") from error
    try:
        if timezone is not None:
            ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"timezone={timezone!r} is not a known time zone: use a name such as "
            "'Europe/Berlin' (on Windows, install tzdata)."
        ) from error
    return schedule


def _restore(fields: tuple[Any, ...], zone: str | None) -> ZonedCrontab:
    return ZonedCrontab(*fields, zone=zone)
