"""A worker whose runs have slots says that it is alive, where no broker of ours knows it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .periodic import Periodic

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds between two times; a worker that says nothing for a minute is taken for dead.
INTERVAL = 15.0

logger = logging.getLogger(__name__)


class Slots(Periodic):
    """Worker step that writes now and then that the worker is alive.

    .. versionadded:: 0.1
    """

    thread_name = "celeriac-slots"

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._ledger: Any = None

    def include_if(self, parent: Any) -> bool:
        """Only where a task has a limit, and slots are recorded.

        :raises ConfigError: there is no place to keep them in
        """
        if not any(getattr(task, "limited", False) for task in parent.app.tasks.values()):
            return False
        self._ledger = parent.app.ledger  # before pool processes are forked, which inherit it
        return hasattr(self._ledger, "say_alive")

    def is_needed(self, app: Any) -> bool:
        """Whether there is anything to say, as :meth:`include_if` has found."""
        return self._ledger is not None

    def rounds(self, app: Any) -> Iterator[float]:
        """Say it, again and again; the runs that are left say themselves that they have ended."""
        while True:
            try:
                self._ledger.say_alive()
            except Exception as error:  # noqa: BLE001 - it is tried again in a moment
                logger.warning("That this worker is alive cannot be noted just now: %s", error)
            yield INTERVAL
