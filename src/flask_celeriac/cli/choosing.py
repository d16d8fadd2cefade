"""The options that choose tasks, the same for every command that takes them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from ..records.task_record import Filter
from ..states import STATES
from .moments import moment


def queue_name(typed: str) -> str:
    """Refuse what is left of a variable that is not set.

    :raises click.BadParameter: it is empty
    """
    if not typed.strip():
        raise click.BadParameter(
            f"{typed!r} names nothing, and a queue has a name: `flask celery queues` lists them"
        )
    return typed


_OPTIONS = (
    click.option(
        "--state", "states", type=click.Choice(STATES), multiple=True,
        help="In this state; may be given several times.",
    ),
    click.option("--name", help="Of this name, such as shop.mail.send."),
    click.option("--queue", type=queue_name, metavar="NAME", help="Sent to this queue."),
    click.option("--worker", help="Run by this worker, such as celery@shop-1."),
    click.option("--label", help="With this label."),
    click.option("--error", metavar="FINGERPRINT", help="Failed with this error."),
    click.option("--root", metavar="ID", help="This task and the workflow it began."),
    click.option("--text", help="With this in arguments, name or error."),
    click.option(
        "--since", "created_after", type=moment, metavar="TIME",
        help="Sent since then: 2h (ago), 2026-01-31, 2026-01-31T14:30.",
    ),
    click.option(
        "--until", "created_before", type=moment, metavar="TIME", help="Sent before then."
    ),
)  # fmt: skip
_FIELDS = tuple(Filter.__dataclass_fields__)


def chooses(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the command gets what they choose as its parameter ``chosen``."""

    @functools.wraps(command)
    def choosing(*args: Any, **options: Any) -> None:
        command(*args, chosen=Filter(**{key: options.pop(key) for key in _FIELDS}), **options)

    for option in reversed(_OPTIONS):
        choosing = option(choosing)
    return choosing
