"""A worker deletes the records of tasks that ended long ago."""

from __future__ import annotations

import logging
import random
from contextlib import closing
from typing import TYPE_CHECKING

from ..ledgers import FORGET
from ..operations import pruning
from ..operations.pruning import DAY
from ..urls import records_url
from .periodic import Periodic

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from ..celery_app import FlaskCelery

#: Seconds between two rounds, on average.
INTERVAL = 3600.0
#: Seconds from a worker's start to its first round, at most: many start at once.
FIRST = 600.0
#: Seconds between two batches, for the tasks that write there.
PAUSE = 0.5

logger = logging.getLogger(__name__)


class Pruning(Periodic):
    """Worker step that deletes old records, some at a time.

    .. versionadded:: 0.1
    """

    thread_name = "celeriac-pruning"

    def is_needed(self, app: FlaskCelery) -> bool:
        """Whether anything is recorded."""
        return records_url(app) is not None

    def rounds(self, app: FlaskCelery) -> Iterator[float]:
        """Prune once an hour."""
        yield random.uniform(0.1, 1.0) * FIRST
        while True:
            prune(app, self.over)
            yield random.uniform(0.9, 1.1) * INTERVAL


def kept(app: FlaskCelery) -> tuple[float | None, float | None]:
    """Seconds for which records are kept, of tasks that succeeded and of others; None for ever."""
    if app.celeriac is None:
        return None, None
    options = app.celeriac.settings.options
    succeeded, others = options.keep_succeeded * DAY, options.keep_others * DAY
    return succeeded or None, others or None


def kept_audit(app: FlaskCelery) -> float | None:
    """Seconds for which it is known who changed what through the API; None for ever."""
    if app.celeriac is None:
        return None
    return app.celeriac.settings.options.keep_audit * DAY or None


def prune(app: FlaskCelery, over: threading.Event) -> int:
    """One round; how many records it deleted. Whatever the database says, the worker goes on."""
    succeeded, others = kept(app)
    deleted = 0
    try:
        with closing(pruning.prune_in_batches(app, succeeded, others)) as batches:
            for gone in batches:
                deleted += gone
                if over.wait(PAUSE):
                    break
        with closing(pruning.prune_marks_in_batches(app, kept_audit(app))) as batches:
            for _ in batches:
                if over.wait(PAUSE):
                    break
    except Exception as error:  # noqa: BLE001 - it is tried again in an hour
        logger.warning("Old records cannot be deleted, trying again later: %s", error)
    forget(app, over)
    sweep = getattr(app.backend, "sweep_waiters", None)
    if sweep is not None:
        sweep()
    if deleted:
        logger.info("Deleted %d records of tasks that ended long ago", deleted)
    return deleted


def counts(app: FlaskCelery) -> bool:
    """Whether a task is unique or has a limit."""
    tasks = app.tasks.values()
    return any(getattr(task, "unique", None) or getattr(task, "limited", False) for task in tasks)


def forget(app: FlaskCelery, over: threading.Event) -> None:
    """Delete the keys, places and moments of unique tasks and limits that say nothing any more."""
    if not counts(app):
        return
    try:
        while app.ledger.forget() >= FORGET and not over.wait(PAUSE):
            pass
    except Exception as error:  # noqa: BLE001 - it is tried again in an hour
        logger.warning("What limits have counted cannot be deleted, trying again: %s", error)
