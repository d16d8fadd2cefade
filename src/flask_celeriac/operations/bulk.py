"""One verb for many tasks: all that a filter chooses, after they have been counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kombu.exceptions import OperationalError

from ..database import OUT_OF_REACH
from ..errors import (
    CeleriacError,
    CountChangedError,
    InvalidRequestError,
    PartlyDoneError,
    StorageError,
)
from . import listing, tasks

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery
    from ..records.task_record import Filter, TaskRecord

    Allowed = Callable[[TaskRecord], bool] | None

#: The verbs, and what each does with one task.
VERBS: dict[str, Callable[..., Any]] = {
    "retry": tasks.retry,
    "revoke": tasks.revoke,
    "discard": tasks.discard,
}


@dataclass(frozen=True)
class Outcome:
    """What became of many tasks.

    :param done: how many it was done to
    :param refused: the ids of those it could not be done to, and why
    :param made: the ids of the tasks that were sent for others, by the ids of these
    """

    done: int
    refused: dict[str, str]
    made: dict[str, str] = field(default_factory=dict)


def count_all(app: FlaskCelery, chosen: Filter) -> listing.Count:
    """How many tasks are chosen, however long it takes to find them all."""
    counted = listing.count(app, chosen)
    partly = counted.capped and counted.number < listing.COUNT_CAP
    return count_allowed(app, chosen, lambda _: True) if partly else counted


def count_allowed(app: FlaskCelery, chosen: Filter, allowed: Allowed = None) -> listing.Count:
    """How many tasks are chosen, of those that somebody may touch.

    :param allowed: whether a task is one of these; None for all. It is asked of each
    """
    if allowed is None:
        return listing.count(app, chosen)
    number = len(_ids(app, chosen, allowed, listing.COUNT_CAP + 1))
    return listing.Count(min(number, listing.COUNT_CAP), number > listing.COUNT_CAP)


def apply_to_many(
    app: FlaskCelery,
    verb: str,
    chosen: Filter,
    *,
    expected: int,
    allowed: Allowed = None,
    tell: Callable[[str, str | None], object] | None = None,
    **options: Any,
) -> Outcome:
    """Do something with every task that a filter chooses.

    Those that come to be chosen meanwhile are left alone.

    :param verb: one of :data:`VERBS`
    :param expected: how many :func:`count_allowed` said there are
    :param allowed: as :func:`count_allowed` takes it
    :param tell: called with the id of each task that it was done to, and that of the one that was
        sent for it, if one was
    :param options: of the verb
    :raises InvalidRequestError: there is no such verb, or more tasks than are counted
    :raises CountChangedError: there are more or fewer than expected; nothing was done
    :raises PartlyDoneError: broker or database are out of reach since some of it was done
    """
    if verb not in VERBS:
        raise InvalidRequestError(f"verb: there is no {verb!r}: they are {', '.join(VERBS)}")
    counted, most, ids = count_allowed(app, chosen, allowed), listing.COUNT_CAP, None
    number = counted.number
    # Of conditions without an index, a count knows the newest tasks only: a list goes on.
    if number == expected or (counted.capped and number < most):
        ids = _ids(app, chosen, allowed, most + 1)
        number = len(ids)
    if number > most or (ids is None and counted.capped):
        raise InvalidRequestError(
            f"These are more than {most:,} tasks, too many at a time: choose fewer, for"
            " example by created_after"
        )
    if ids is None or number != expected:
        raise CountChangedError(
            f"These are {number} tasks, not {expected}: look at them again, and name that number"
        )
    return apply_to_each(app, verb, ids, tell=tell, **options)


def apply_to_each(
    app: FlaskCelery,
    verb: str,
    ids: Iterable[str],
    *,
    tell: Callable[[str, str | None], object] | None = None,
    **options: Any,
) -> Outcome:
    """Do something with each of some tasks.

    :param verb: one of :data:`VERBS`
    :param tell: called with the id of each task that it was done to, and that of the one that was
        sent for it, if one was
    :param options: of the verb
    :raises PartlyDoneError: broker or database are out of reach since some of it was done
    :raises StorageError: the embedded file cannot be used, or else what says that a server is out
        of reach; nothing was done
    """
    ids = list(ids)
    refused: dict[str, str] = {}
    made: dict[str, str] = {}
    done = 0
    for task_id in ids:
        try:
            result = VERBS[verb](app, task_id, **options)
        except (StorageError, OperationalError, *OUT_OF_REACH) as error:
            outcome = Outcome(done, refused, made)
            if not done:
                raise
            raise PartlyDoneError(
                outcome,
                f"{done} of {len(ids)} tasks were done, {len(refused)} were refused, and then the"
                " broker or the database went out of reach: choose the others when it is back",
            ) from error
        except (CeleriacError, TypeError) as error:  # the latter of arguments it does not take
            refused[task_id] = str(error)
            continue
        done += 1
        if tell is not None:
            tell(task_id, result if verb == "retry" else None)
        if result is not None:
            made[task_id] = result
    return Outcome(done, refused, made)


def _ids(app: FlaskCelery, chosen: Filter, allowed: Allowed, most: int) -> list[str]:
    """All of them, before anything changes which they are."""
    ids: list[str] = []
    cursor = None
    while True:
        page = listing.list_tasks(app, chosen, cursor=cursor, limit=listing.LARGEST_PAGE)
        ids.extend(task.id for task in page.tasks if allowed is None or allowed(task))
        cursor = page.next
        if cursor is None or len(ids) >= most:
            return ids[:most]
