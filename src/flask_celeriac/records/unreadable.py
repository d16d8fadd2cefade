"""What is raised when nobody can say just now what became of a task."""

from __future__ import annotations

from kombu.exceptions import OperationalError

from ..errors import RecordsUnavailableError


class UnreadableError(RecordsUnavailableError, OperationalError):
    """What became of a task cannot be read just now: see the cause for what its store said.

    Also kombu's error for a broker out of reach, so that one ``except`` is enough for both.

    .. versionadded:: 0.1
    """
