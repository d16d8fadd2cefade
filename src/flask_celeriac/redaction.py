"""What others than the task itself are told of its arguments.

Two kinds of others. Who reads records (the API and the command line, which ask who it is) is told
the values, without what looks like a secret or is named in the task's ``redact``. Who reads logs,
events, ``inspect`` or the headers of messages is told of what kind the values are, and with
``CELERIAC_SHOW_ARGUMENTS`` what records show.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from celery.utils.saferepr import saferepr

from . import arguments
from .config_mask import HIDDEN, mask
from .errors import ConfigError

if TYPE_CHECKING:
    from .celery_app import FlaskCelery

#: Characters that are told of arguments, Celery's own limit.
_LONGEST = 1024
#: Arguments whose kinds are told.
_MANY = 8

logger = logging.getLogger(__name__)
_known: WeakKeyDictionary[Any, _Names] = WeakKeyDictionary()


def told(
    app: FlaskCelery, name: str | None, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[str, str]:
    """What logs and events say of arguments: ``argsrepr`` and ``kwargsrepr`` of a message."""
    if not app.policy.show_arguments:
        return kinds_of(args), kinds_of_named(kwargs)
    shown_args, shown_kwargs = shown(app, name, list(args), dict(kwargs))
    levels = app.conf.task_repr_maxlevels
    values = tuple(shown_args) if isinstance(args, tuple) else shown_args
    return saferepr(values, _LONGEST, levels), saferepr(shown_kwargs, _LONGEST, levels)


def listed(
    app: FlaskCelery, name: str | None, args: list[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The same for programs: a list and a mapping."""
    if app.policy.show_arguments:
        return shown(app, name, args, kwargs)
    return [_kind(value) for value in args], {key: _kind(kwargs[key]) for key in kwargs}


def _kind(value: Any) -> str:
    return f"<{type(value).__name__}>"


def kinds_of(args: Sequence[Any]) -> str:
    """Of what kind positional arguments are, such as ``(<int>, <str>)``."""
    parts = [_kind(value) for value in args[:_MANY]]
    if len(args) > _MANY:
        parts.append("...")
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


def kinds_of_named(kwargs: Mapping[str, Any]) -> str:
    """Of what kind keyword arguments are, such as ``{'order': <int>}``."""
    if not kwargs:
        return "{}"
    parts = [f"{key!r}: {_kind(kwargs[key])}" for key in [*kwargs][:_MANY]]
    if len(kwargs) > _MANY:
        parts.append("...")
    text = f"{{{', '.join(parts)}}}"
    return text if len(text) <= _LONGEST else "{...}"


def shown(
    app: FlaskCelery, name: str | None, args: list[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as those see them who may read records.

    Hidden is what stands under a name that means a secret, passwords in URLs, and what the task's
    ``redact`` says.
    """
    task = app.tasks.get(name) if name else None
    redact: Any = getattr(task, "redact", ())
    try:
        if callable(redact):
            choose: Any = redact
            args, kwargs = choose(list(args), dict(kwargs))
            redact = ()
        return _masked(task, args, kwargs, redact)
    except Exception:
        logger.exception("The arguments of task %s are hidden: its redact failed", name)
        return [HIDDEN] * len(args), dict.fromkeys(kwargs, HIDDEN)


def normalised(task: str, fun: Callable[..., Any], redact: Any) -> Any:
    """What a task's ``redact`` was given, as it is used: a function, or names.

    :raises ConfigError: it is neither, or names an argument that the task does not have
    """
    if callable(redact):
        return redact
    one = isinstance(redact, str) or not isinstance(redact, Collection)
    names: tuple[Any, ...] = (redact,) if one else tuple(redact)
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"redact: the task {task} is to hide {redact!r}: give names of its arguments, such as"
            " ('card',), or a function"
        )
    parameters = inspect.signature(fun).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return names  # which takes any name
    for name in names:
        if name not in parameters:
            raise arguments.unknown("redact", task, name, fun)
    return names


def _masked(
    task: Any, args: Sequence[Any], kwargs: Mapping[str, Any], redact: Collection[str]
) -> tuple[list[Any], dict[str, Any]]:
    def masked(value: Any, key: str, more: str = "") -> Any:
        if key in redact or (more and more in redact):
            return HIDDEN
        shown = mask(value, key)
        return mask(shown, more) if more else shown

    names = _names_of(task)
    positional = [
        masked(value, key)
        for value, key in zip_longest(args, names.positional[: len(args)], fillvalue=names.others)
    ]
    named = {
        key: masked(value, key, "" if key in names.named else names.others_named)
        for key, value in kwargs.items()
    }
    return positional, named


def _names_of(task: Any) -> _Names:
    """The names of a task's parameters, looked at once: a search asks for each of its calls."""
    if task is None:
        return _Names()
    names = _known.get(task)
    if names is None:
        names = _known[task] = _Names.of(task)
    return names


@dataclass
class _Names:
    """The names of a task's parameters, as far as it is known here.

    :param others: the one that takes all further positional arguments, such as ``args``
    :param others_named: the one that takes all further keyword arguments
    """

    positional: list[str] = field(default_factory=list)
    others: str = ""
    named: set[str] = field(default_factory=set)
    others_named: str = ""

    @classmethod
    def of(cls, task: Any) -> _Names:
        names = cls()
        try:
            parameters = inspect.signature(task.run).parameters
        except (TypeError, ValueError):
            return names
        for name, parameter in parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                names.others = name
            elif parameter.kind is parameter.VAR_KEYWORD:
                names.others_named = name
            else:
                # Of what has to be named, too: the call may be a wrong one.
                if not names.others:
                    names.positional.append(name)
                if parameter.kind is not parameter.POSITIONAL_ONLY:
                    names.named.add(name)
        return names
