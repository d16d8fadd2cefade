"""The arguments of a task, as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

_T = TypeVar("_T")


def _array(typed: str) -> list[Any]:
    return _read(typed, list, "'[7, \"now\"]'")


def _object(typed: str) -> dict[str, Any]:
    return _read(typed, dict, """'{"user": 7}'""")


def _read(typed: str, kind: type[_T], example: str) -> _T:
    try:
        read = json.loads(typed)
    except ValueError:
        read = None
    if not isinstance(read, kind):
        raise click.BadParameter(f"{typed!r}: give it in JSON, for example {example}")
    return read


def takes_arguments(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--args`` and ``--kwargs``."""
    for option in (
        click.option(
            "--kwargs",
            type=_object,
            metavar="JSON",
            help="Keyword arguments, as a JSON object.",
        ),
        click.option(
            "--args",
            type=_array,
            metavar="JSON",
            help="Positional arguments, as a JSON array.",
        ),
    ):
        command = option(command)
    return command


def read_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments from ``key=value``: JSON where the value is some, text where not.

    :raises click.UsageError: there is no ``=`` or no name before it, or a name comes twice
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise click.UsageError(
                f"{pair!r} is no argument: write key=value, or use --args for positional ones"
            )
        if name in found:
            raise click.UsageError(f"{name} is given twice: {pair!r} is the second one")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
