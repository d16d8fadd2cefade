"""A worker looks for chords whose body was left behind by one that was killed."""

from __future__ import annotations

import logging
from typing import Any

from .periodic import Repeated

#: Seconds between two looks.
INTERVAL = 5.0

logger = logging.getLogger(__name__)


class ChordSweep(Repeated):
    """Worker step that sends what is left behind, where the result backend is ours.

    .. versionadded:: 0.1
    """

    requires = ("celery.worker.components:Timer",)

    def start(self, parent: Any) -> None:
        """Begin to look."""
        sweep = getattr(parent.app.backend, "sweep_chords", None)
        if sweep is not None:
            self.repeat(parent, INTERVAL, _safely, sweep)


def _safely(sweep: Any) -> None:
    try:
        sweep()
    except Exception as error:  # noqa: BLE001 - whatever the database says, the worker goes on
        logger.warning("Chords cannot be looked after, trying again: %s", error)
