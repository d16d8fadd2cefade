"""A thread that sees when nothing moves, for instance because the event loop runs a long task."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from .. import background
from ..errors import StorageError

#: Seconds without a movement after which something is done about it.
PATIENCE = 0.02

logger = logging.getLogger(__name__)


class Guard:
    """Calls for relief while something waits and nothing moves.

    :param relieve: what to do then, in the guard's thread.
    :param progress: a number that changes with every movement, None when nothing waits.

    .. versionadded:: 0.1
    """

    def __init__(self, relieve: Callable[[], None], progress: Callable[[], int | None]) -> None:
        self._relieve = relieve
        self._progress = progress
        self._watching = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def watch(self) -> None:
        """Watch from now on, until nothing waits any more."""
        if self._thread is None:
            self._thread = background.start(self._run, "celeriac-guard")
        if not self._watching.is_set():  # to set it takes two locks
            self._watching.set()

    def stop(self) -> None:
        """Have the thread end."""
        self._stopped = True
        self._watching.set()

    def _run(self) -> None:
        while self._watching.wait() and not self._stopped:
            before = self._progress()
            time.sleep(PATIENCE)
            if self._progress() is None:
                self._watching.clear()
                if self._progress() is not None:  # something came in between
                    self._watching.set()
            elif self._progress() == before and not self._stopped:
                try:
                    self._relieve()
                except StorageError as error:
                    logger.error("The broker's file cannot be used, trying again: %s", error)
                except Exception:
                    logger.exception("What waits was not written, trying again")
