"""What a message is put under: a condition that is looked at in the same transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .limit_queries import Condition
    from .queries import Row

_condition: ContextVar[Condition | None] = ContextVar("condition", default=None)


class NotPutError(Exception):
    """A message was not put: another task has its key. Nobody outside of this package sees it.

    :param holder: the id of that task
    """

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


@contextmanager
def required(condition: Condition) -> Iterator[None]:
    """Put the message that a condition is about only if that is met."""
    token = _condition.set(condition)
    try:
        yield
    finally:
        _condition.reset(token)


def of(row: Row) -> Condition | None:
    """The condition for a message, None where there is none."""
    condition = _condition.get()
    return condition if condition is not None and condition.concerns(row) else None
