"""Which argument of a task cannot be serialized, where it is, and what to pass instead."""

from __future__ import annotations

import dataclasses
import enum
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kombu import serialization
from kombu.exceptions import EncodeError

from . import errors
from .spelling import did_you_mean


class UnserializableArgumentError(errors.UnserializableArgumentError, EncodeError):
    """A task's argument cannot be serialized: pass an id or plain data instead of the object.

    Also kombu's error for the same thing, which Celery handles where a worker sends a callback.
    """

    # People see, and results name, the documented class.
    __module__ = errors.__name__

    def __reduce__(self) -> Any:
        # By its name, pickle would find the documented class instead of this one.
        return _unpickled, self.args, self.__dict__


def _unpickled(*args: object) -> UnserializableArgumentError:
    return UnserializableArgumentError(*args)


def unknown(option: str, task_name: str, name: str, fun: Callable[..., Any]) -> errors.ConfigError:
    """The error of an option that names an argument which its task does not have."""
    parameters = inspect.signature(fun).parameters
    hint = did_you_mean(name, parameters, f"it has {', '.join(parameters) or 'none'}")
    return errors.ConfigError(f"{option}: the task {task_name} has no argument {name!r}: {hint}")


def refuse(
    error: EncodeError,
    task_name: str,
    args: Any,
    kwargs: Any,
    *,
    serializer: str,
    embedded: Mapping[str, Any] | None = None,
) -> None:
    """Say which argument ``error`` is about; return if it is about none.

    :param embedded: signatures that travel in the same message, by option name
    :raises UnserializableArgumentError: names the task, the path to the argument and its type
    """
    if isinstance(error, errors.UnserializableArgumentError):
        return
    roots = {"args": args or (), "kwargs": kwargs or {}, **(embedded or {})}
    for name, value in roots.items():
        if value and not _fits(value, serializer):
            path, culprit = _find(name, value, serializer)
            kind = type(culprit).__name__
            message = f"{task_name}: {path}: {kind} — {_remedy(culprit)}"
            # What the serializer said; kombu's error in between only repeats it.
            raise UnserializableArgumentError(message) from error.__context__


def _fits(value: Any, serializer: str) -> bool:
    try:
        serialization.dumps(value, serializer)
    except EncodeError:
        return False
    return True


def _find(path: str, value: Any, serializer: str) -> tuple[str, Any]:
    """Follow what cannot be serialized down to the innermost value that cannot."""
    seen = {id(value)}
    found = True
    while found:
        found = False
        for step, child, alone in _children(value):
            if id(child) not in seen and not _fits(alone, serializer):
                path, value, found = path + step, child, True
                seen.add(id(value))
                break
    return path, value


def _children(value: Any) -> Iterator[tuple[str, Any, Any]]:
    """The parts of a container: the step to it, the part, and what to try to serialize alone."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f".<key {key!r}>", key, {key: None}
            yield _step(key), item, item
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield f"[{index}]", item, item


def _step(key: object) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]"


def _remedy(value: object) -> str:
    kind = type(value)
    if hasattr(kind, "__mapper__") or hasattr(kind, "_sa_class_manager"):
        return "pass its id"
    if isinstance(value, enum.Enum):
        return "pass its value"
    if dataclasses.is_dataclass(kind):
        return "pass dataclasses.asdict() of it"
    if callable(getattr(value, "read", None)):
        return "store the file and pass its path"
    if isinstance(value, (set, frozenset, Iterator)):
        return "pass a list"
    if isinstance(value, (list, dict)):
        return "it contains itself; pass plain data"
    if getattr(value, "id", None) is not None:
        return "pass its id"
    return "pass plain data (str, int, list, dict, ...)"
