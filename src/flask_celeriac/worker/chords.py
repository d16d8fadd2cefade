"""A worker looks for chords whose body was left behind by one that was killed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .periodic import Periodic

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds between two looks.
INTERVAL = 5.0

logger = logging.getLogger(__name__)


class ChordSweep(Periodic):
    """Worker step that sends what is left behind, where the result backend is ours.

    .. versionadded:: 0.1
    """

    thread_name = "celeriac-chords"

    def is_needed(self, app: Any) -> bool:
        """Whether the result backend is ours."""
        return hasattr(app.backend, "sweep_chords")

    def rounds(self, app: Any) -> Iterator[float]:
        """Look again and again."""
        while True:
            yield INTERVAL
            try:
                app.backend.sweep_chords()
            except Exception as error:  # noqa: BLE001 - whatever the database says, it goes on
                logger.warning("Chords cannot be looked after, trying again: %s", error)
