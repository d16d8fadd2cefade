"""A worker that starts knows what was revoked while it was not there."""

from __future__ import annotations

import logging
from typing import Any

from celery.worker import state

from .. import revocations
from .periodic import Repeated

#: Seconds between two looks: a worker forgets what it knows after three hours.
INTERVAL = 3600.0

logger = logging.getLogger(__name__)


class Revoked(Repeated):
    """Worker step that finds the tasks that were revoked lately.

    .. versionadded:: 0.1
    """

    # As for paused queues: after all that forks.
    requires = (
        "celery.worker.components:Timer",
        "celery.worker.components:Pool",
        "celery.worker.components:Beat",
    )

    def start(self, parent: Any) -> None:
        """Look before the first message comes, and now and then."""
        _look(parent.app)
        self.repeat(parent, INTERVAL, _look, parent.app)


def _look(app: Any) -> None:
    try:
        state.revoked.update(revocations.recent(app))
    except Exception as error:  # noqa: BLE001 - the record is asked again when a task begins
        logger.warning("What was revoked cannot be read just now: %s", error)
