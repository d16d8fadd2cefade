"""Forgetting what is old: some rows at a time, so that others can write there meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .. import states
from ..records import prune_queries
from .listing import COUNT_CAP, Count
from .sources import sources_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..celery_app import FlaskCelery

DAY = 86400.0
#: Seconds for which ended tasks are kept, unless said otherwise: those that succeeded, and others;
#: and for which it is known who changed what.
KEEP_SUCCEEDED = 7 * DAY
KEEP_OTHERS = 30 * DAY
KEEP_AUDIT = 365 * DAY
#: Seconds for which an ``Idempotency-Key`` is known.
KEEP_KEYS = DAY
#: Rows deleted in one transaction.
BATCH = 1000


def prune(
    app: FlaskCelery,
    *,
    keep_succeeded: float | None = KEEP_SUCCEEDED,
    keep_others: float | None = KEEP_OTHERS,
    pause: float = 0.0,
) -> int:
    """Delete the records of tasks that ended long ago.

    :param keep_succeeded: seconds since their end, for tasks that succeeded; None for ever
    :param keep_others: the same for the others
    :param pause: seconds between two batches, for others who write there
    :return: how many were deleted
    """
    deleted = 0
    for gone in prune_in_batches(app, keep_succeeded, keep_others):
        deleted += gone
        time.sleep(pause)
    return deleted


def prune_in_batches(
    app: FlaskCelery, keep_succeeded: float | None, keep_others: float | None
) -> Generator[int, None, None]:
    """:func:`prune`, one transaction after the other, each when the next is asked for.

    :return: how many records each deleted
    """
    engine = sources_of(app).engine
    for state, before in _before(keep_succeeded, keep_others):
        gone = BATCH
        while gone == BATCH:
            with engine.begin() as connection:
                gone = prune_queries.prune(connection, state, before, BATCH)
            if gone:
                yield gone


def count_prunable(
    app: FlaskCelery,
    *,
    keep_succeeded: float | None = KEEP_SUCCEEDED,
    keep_others: float | None = KEEP_OTHERS,
    cap: int = COUNT_CAP,
) -> Count:
    """How many records :func:`prune` would delete now; parameters as there.

    :param cap: count no further
    """
    number = 0
    with sources_of(app).engine.connect() as connection:
        for state, before in _before(keep_succeeded, keep_others):
            number += prune_queries.count_prunable(connection, state, before, cap + 1 - number)
            if number > cap:
                break
    return Count(min(number, cap), number > cap)


def prune_marks(
    app: FlaskCelery, *, keep_audit: float | None = KEEP_AUDIT, pause: float = 0.0
) -> int:
    """Delete the notes of changes, and the keys of requests, that are old.

    :param keep_audit: seconds since a change; None for ever
    :param pause: as for :func:`prune`
    :return: how many rows were deleted
    """
    deleted = 0
    for gone in prune_marks_in_batches(app, keep_audit):
        deleted += gone
        time.sleep(pause)
    return deleted


def prune_marks_in_batches(
    app: FlaskCelery, keep_audit: float | None
) -> Generator[int, None, None]:
    """:func:`prune_marks`, one transaction after the other, each when the next is asked for."""
    engine, now = sources_of(app).engine, time.time()
    for kept, remove in (
        (keep_audit, prune_queries.prune_audit),
        (KEEP_KEYS, prune_queries.prune_keys),
    ):
        gone = 0 if kept is None else BATCH
        while gone == BATCH and kept is not None:
            with engine.begin() as connection:
                gone = remove(connection, now - kept, BATCH)
            if gone:
                yield gone


def _before(
    keep_succeeded: float | None, keep_others: float | None
) -> Generator[tuple[str, float], None, None]:
    """The states of ended tasks, and until when they have to have ended to be deleted."""
    now = time.time()
    for state in states.ENDED:
        keep = keep_succeeded if state == states.SUCCEEDED else keep_others
        if keep is not None:
            yield state, now - keep
