"""A worker whose runs have slots says that it is alive, where no broker of ours knows it."""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import bootsteps

#: Seconds between two times; a worker that says nothing for a minute is taken for dead.
INTERVAL = 15.0

logger = logging.getLogger(__name__)


class Slots(bootsteps.StartStopStep):
    """Worker step that writes now and then that the worker is alive, in a thread of its own.

    .. versionadded:: 0.1
    """

    # After all that forks: a process that is forked later has connections of its own.
    requires = ("celery.worker.components:Timer", "celery.worker.components:Pool")

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._ledger: Any = None

    def include_if(self, parent: Any) -> bool:
        """Only where a task has a limit, and slots are recorded.

        :raises ConfigError: there is no place to keep them in
        """
        if not any(getattr(task, "limited", False) for task in parent.app.tasks.values()):
            return False
        self._ledger = parent.app.ledger  # before pool processes are forked, which inherit it
        return hasattr(self._ledger, "say_alive")

    def start(self, parent: Any) -> None:
        """Begin."""
        self._over.clear()
        self._thread = threading.Thread(target=self._run, name="celeriac-slots", daemon=True)
        self._thread.start()

    def stop(self, parent: Any) -> None:
        """End; the runs that are left say themselves that they have ended."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            self._thread = None

    terminate = stop

    def _run(self) -> None:
        while True:
            try:
                self._ledger.say_alive()
            except Exception as error:  # noqa: BLE001 - it is tried again in a moment
                logger.warning("That this worker is alive cannot be noted just now: %s", error)
            if self._over.wait(INTERVAL):
                return
