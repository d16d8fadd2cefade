"""A worker that starts knows what was revoked while it was not there."""

from __future__ import annotations

import logging
from typing import Any

from celery import bootsteps
from celery.worker import state

from .. import revocations

#: Seconds between two looks: a worker forgets what it knows after three hours.
INTERVAL = 3600.0

logger = logging.getLogger(__name__)


class Revoked(bootsteps.StartStopStep):
    """Worker step that finds the tasks that were revoked lately.

    .. versionadded:: 0.1
    """

    # As for paused queues: after all that forks.
    requires = (
        "celery.worker.components:Timer",
        "celery.worker.components:Pool",
        "celery.worker.components:Beat",
    )

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._entry: Any = None

    def start(self, parent: Any) -> None:
        """Look before the first message comes, and now and then."""
        _look(parent.app)
        self._entry = parent.timer.call_repeatedly(INTERVAL, _look, (parent.app,))

    def stop(self, parent: Any) -> None:
        """Look no more."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None


def _look(app: Any) -> None:
    try:
        state.revoked.update(revocations.recent(app))
    except Exception as error:  # noqa: BLE001 - the record is asked again when a task begins
        logger.warning("What was revoked cannot be read just now: %s", error)
