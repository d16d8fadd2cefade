"""What somebody may do with the tasks of an application."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from ..records.task_record import TaskRecord


class Access(enum.Enum):
    """What whoever sent a request may do.

    .. versionadded:: 0.1
    """

    #: Look at everything, start tasks and change what becomes of them.
    OPERATE = "operate"
    #: Look at everything.
    READ = "read"
    #: Nothing.
    NONE = "none"


class Decided(TypedDict, total=False):
    """What else an application may decide: see :class:`~.context.Hooks`."""

    owns: Callable[[TaskRecord], bool] | None
    limit: Callable[[str], float | None] | None
    actor: Callable[[], str | None] | None
    streams: int
    name: str
