"""The keys under which calls of a task are counted."""

from __future__ import annotations

import hashlib
import inspect
from typing import TYPE_CHECKING, Any

from kombu.exceptions import EncodeError
from kombu.utils.json import dumps

from . import arguments
from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celery import Task

    from .limits import Key

#: Characters of a task's name in a key.
LONGEST_NAME = 200


def of_call(
    task: Task[..., Any], key: Key, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> str:
    """The key of a call, as long as an index can take: what it is made of can be long, or secret.

    The same arguments give the same key, positional or by name, left out or as the default.

    :param key: names of arguments or a function; None for all arguments
    :raises TypeError: the task does not take such arguments, or the function returns no string
    """
    args, kwargs = tuple(args or ()), dict(kwargs or {})
    if callable(key):
        text = key(*args, **kwargs)
        if not isinstance(text, str):
            raise TypeError(f"{task.name}: the function for key= returned {text!r}: return a str")
    else:
        named = _named(task, args, kwargs)
        names = (key,) if isinstance(key, str) else key
        try:
            chosen = named if names is None else [named[name] for name in names]
        except KeyError as error:
            raise ConfigError(
                f"{task.name} has no argument {error}, which a key of it names: it has"
                f" {', '.join(named)}"
            ) from None
        text = _text(task, chosen, args, kwargs)
    digest = hashlib.blake2b(f"{task.name}\0{text}".encode(), digest_size=16).hexdigest()
    return f"{task.name[:LONGEST_NAME]}:{digest}"


def of_run(
    task: Task[..., Any], key: Key, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> str:
    """The key of a run for a limit, which without a key is the whole task's."""
    return task.name[:255] if key is None else of_call(task, key, args, kwargs)


def _named(task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    found = inspect.signature(task.run).bind(*args, **kwargs)
    found.apply_defaults()
    return dict(found.arguments)


def _text(task: Task[..., Any], chosen: Any, args: Any, kwargs: Any) -> str:
    try:
        return dumps(chosen, sort_keys=True)
    except (TypeError, ValueError, EncodeError) as error:
        serializer = task.serializer or task.app.conf.task_serializer
        if serializer == "json":
            refused = error if isinstance(error, EncodeError) else EncodeError(str(error))
            arguments.refuse(refused, task.name, args, kwargs, serializer="json")
        raise ConfigError(
            f"{task.name}: these arguments are not JSON, so that calls cannot be told apart by"
            " them: give key= a function that makes a string of them."
        ) from error
