"""What a task says of how often it may be sent, and how many of it may run."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from . import arguments
from .errors import ConfigError

#: What tells calls of a task apart: names of arguments, or a function of the arguments.
Key: TypeAlias = "str | tuple[str, ...] | Callable[..., str] | None"

#: The task options of this module.
OPTIONS = ("unique", "concurrency", "rate")

#: Message headers: what tells one that was put off from the others of its task; the place in the
#: line for a slot; the attempt and the moment for which a rate has let the task begin; what the
#: task waits for.
MARK = "celeriac_mark"
TICKET = "celeriac_ticket"
PERMIT = "celeriac_permit"
WAITS = "celeriac_waits"

_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/\s*([smh]))?\s*")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Unique:
    """A task that is not sent while it is there, as ``@celeriac.task(unique=...)`` takes it.

    The second call gets the :class:`~celery.result.AsyncResult` of the task there is.

    :param key: what tells calls apart: names of arguments, or a function that gets the arguments
        and returns a string; ``None`` for all arguments
    :param until: ``"end"``: until the task has ended, retries included; ``"start"``: only while it
        waits in its queue, so that what is sent while one runs still runs after it
    :param period: seconds or a :class:`~datetime.timedelta`: not again within that time since it
        was sent either, whatever became of it
    :raises ConfigError: a parameter means nothing

    .. versionadded:: 0.1
    """

    key: Key = None
    until: Literal["end", "start"] = "end"
    period: float | timedelta | None = None

    def __post_init__(self) -> None:
        until: Any = self.until
        if until not in ("end", "start"):
            raise ConfigError(f"Unique(until={until!r}): write 'end' or 'start'.")
        if self.seconds < 0:
            raise ConfigError(f"Unique(period={self.period!r}): give seconds, or a timedelta.")
        _check_key("Unique", self.key)

    @property
    def seconds(self) -> float:
        """The period in seconds, 0 where there is none."""
        period: Any = self.period
        if isinstance(period, timedelta):
            return period.total_seconds()
        if isinstance(period, bool) or not isinstance(period, (int, float, type(None))):
            return -1.0
        return float(period or 0.0)


@dataclass(frozen=True)
class Limit:
    """How many of a task may run at once on all workers, as ``concurrency=`` takes it.

    :param at_once: that number; 1 for one after the other
    :param key: names of arguments, or a function that gets the arguments and returns a string:
        each key has the number for itself
    :raises ConfigError: a parameter means nothing

    .. versionadded:: 0.1
    """

    at_once: int
    key: Key = None

    def __post_init__(self) -> None:
        number: Any = self.at_once
        if not _is_count(number):
            raise ConfigError(
                f"concurrency={number!r}: give the number of runs there may be at once, 1 or more."
            )
        _check_key("Limit", self.key)


@dataclass(frozen=True)
class Rate:
    """How often a task may begin, counted over all workers, as ``rate=`` takes it.

    :param limit: as Celery's ``rate_limit``: ``"10/m"``; ``/s``, ``/m`` or ``/h``
    :param key: names of arguments, or a function that gets the arguments and returns a string:
        each key has the rate for itself
    :param burst: how many may begin at once after a rest
    :raises ConfigError: a parameter means nothing

    .. versionadded:: 0.1
    """

    limit: str
    key: Key = None
    burst: int = 1

    def __post_init__(self) -> None:
        found = _RATE.fullmatch(str(self.limit))
        if found is None or float(found[1]) <= 0:
            raise ConfigError(
                f"rate={self.limit!r}: write a number of tasks and a time, such as '10/s', '10/m'"
                " or '10/h'."
            )
        if not _is_count(self.burst):
            raise ConfigError(f"Rate(burst={self.burst!r}): give a number, 1 or more.")
        _check_key("Rate", self.key)

    @property
    def interval(self) -> float:
        """Seconds from one begin to the next."""
        found = _RATE.fullmatch(str(self.limit))
        assert found is not None
        return _SECONDS[found[2] or "s"] / float(found[1])


def advanced(after: float | None, now: float, interval: float) -> float:
    """The moment kept for a key, once one more task is to begin: the SQL computes the same.

    :param after: the moment that was kept, in seconds since the epoch, None for a new key
    """
    return max(now if after is None else after, now) + interval


def begin_of(kept: float, now: float, rate: Rate) -> float:
    """When the task may begin for which a key was :func:`advanced` to a moment."""
    return max(now, kept - rate.burst * rate.interval)


_FORMS: tuple[tuple[str, type, Any], ...] = (
    ("unique", Unique, bool),
    ("concurrency", Limit, int),
    ("rate", Rate, (str, int, float)),
)


def normalised(options: dict[str, Any]) -> dict[str, Any]:
    """Task options with ours in their long form.

    :raises ConfigError: one means nothing
    """
    found = dict(options)
    for name, long, short in _FORMS:
        value: Any = found.get(name)
        if value is None or isinstance(value, long):
            continue
        if not isinstance(value, short) or (value is True and name != "unique"):
            raise ConfigError(
                f"{name}={value!r}: give {_EXAMPLES[name]}, or a {long.__name__} of flask_celeriac."
            )
        if name == "unique":
            found[name] = Unique() if value else None
        else:
            found[name] = Limit(value) if name == "concurrency" else Rate(str(value))
    if found.get("concurrency") is not None or found.get("rate") is not None:
        found["limited"] = True
    return found


_EXAMPLES = {"unique": "True", "concurrency": "a number", "rate": "a text such as '10/m'"}


def settle(task: Any) -> None:
    """Bring the options of a Task class, however it was declared, into their long form.

    :raises ConfigError: one means nothing
    """
    given = {name: getattr(task, name) for name in OPTIONS}
    found = normalised(given)
    for name, value in found.items():
        if value is not given.get(name):
            setattr(task, name, value)


def check_names(task: str, fun: Callable[..., Any], options: dict[str, Any]) -> None:
    """Look whether a task has the arguments that its keys name.

    :raises ConfigError: it has not
    """
    for option in OPTIONS:
        key = getattr(options.get(option), "key", None)
        names = (key,) if isinstance(key, str) else key
        if not isinstance(names, tuple):
            continue
        for name in names:
            if name not in inspect.signature(fun).parameters:
                raise arguments.unknown(option, task, name, fun)


def _is_count(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 1


def _check_key(what: str, key: Any) -> None:
    if key is None or callable(key) or (isinstance(key, str) and key):
        return
    if isinstance(key, tuple) and key and all(isinstance(name, str) for name in key):
        return
    raise ConfigError(
        f"{what}(key={key!r}): give names of arguments, such as ('customer_id',), or a function of"
        " the arguments."
    )
