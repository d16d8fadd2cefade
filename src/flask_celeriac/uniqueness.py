"""Unique tasks: a call is not sent while the task it would be is there."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from . import capturing, task_keys
from .broker.conditions import NotPutError
from .errors import ConfigError, StorageError
from .ledgers import Reservation
from .task_ids import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from celery.result import AsyncResult

    from .celery_app import FlaskCelery
    from .limits import Unique
    from .task import Task

#: Seconds for which a key is kept for a task that is in an outbox, where nobody can look for it.
GRACE = 15.0

logger = logging.getLogger(__name__)


def send(
    task: Task[..., Any],
    sender: Callable[..., AsyncResult[Any]],
    args: Any,
    kwargs: Any,
    options: dict[str, Any],
) -> AsyncResult[Any]:
    """Send a unique task, unless it is there: then return the result of that one.

    :param sender: Celery's ``apply_async``
    :param options: its named options
    :raises ConfigError: there is no place to keep keys in
    :raises StorageError: whether it is there cannot be told just now; it was not sent
    """
    app = cast("FlaskCelery", task.app)
    if app.conf.task_always_eager:
        return sender(args, kwargs, **options)
    task_id = options["task_id"] = options.get("task_id") or new_id()
    again = bool(options.get("retries")) or getattr(task.request, "id", None) == task_id
    asked = reservation(task, args, kwargs, task_id, again=again)
    ledger = app.ledger
    if again or _is_awaited(options):
        ledger.reserve(asked)
        return sender(args, kwargs, **options)
    kept_back = _is_kept_back(app)
    if kept_back:
        asked = reservation(task, args, kwargs, task_id, grace=GRACE)
    holder = ledger.reserve(asked) if kept_back else ledger.holder(asked)
    if holder not in (None, task_id) and ledger.is_pending(asked, holder):
        # Its transaction may be rolled back, and this call is to be carried out.
        if asked.waiting:  # both are: that one may come before what is to be seen by this one
            return sender(args, kwargs, **options)
        asked = _adopt(asked, holder, options)
        holder = ledger.reserve(asked) if kept_back else None
    if holder is None or (holder == asked.task_id and not asked.adopted):
        try:
            return _send(ledger, asked, partial(sender, args, kwargs, **options), kept_back)
        except NotPutError as error:
            holder = error.holder
    logger.info("%s is not sent: task %s, which has its key, is there", task.name, holder)
    return task.AsyncResult(holder)


def _adopt(asked: Reservation, holder: str, options: dict[str, Any]) -> Reservation:
    """Have a call take the place of one that may never be sent: of two with one id one is run."""
    headers = options.get("headers") or {}
    options["headers"] = {**headers, capturing.HEADER: capturing.ADOPTED}
    options["task_id"] = holder
    return replace(asked, task_id=holder, adopted=True)


def _send(
    ledger: Any, asked: Reservation, call: Callable[[], AsyncResult[Any]], kept_back: bool
) -> AsyncResult[Any]:
    if kept_back:  # the key is its own already
        return call()
    try:
        with ledger.reserving(asked):
            return call()
    except NotPutError:
        raise
    except BaseException:
        if not asked.adopted:
            _release(ledger, asked)
        raise


def reservation(
    task: Task[..., Any],
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    task_id: str,
    *,
    again: bool = False,
    grace: float = 0.0,
) -> Reservation:
    """What a call of a unique task asks for.

    :param again: it has been sent before
    :param grace: seconds for which it has the key even though nothing of it is there
    :raises ConfigError: its end cannot be noticed
    """
    unique = cast("Unique", task.unique)
    app = cast("FlaskCelery", task.app)
    waiting = unique.until == "start"
    if not (waiting or task.acks_late or app.ledger.follows_early_acks):
        raise ConfigError(
            f"{task.name}: with acks_late=False nothing tells when the task ends: leave acks_late"
            " on, as it is by default, or write unique=Unique(until='start')."
        )
    key = task_keys.of_call(task, unique.key, args, kwargs)
    until = None if again else time.time() + max(unique.seconds, grace)
    lasting = unique.seconds > 0
    return Reservation(key, task_id, until, waiting, lasting=lasting, pending=grace > 0)


def _is_awaited(options: dict[str, Any]) -> bool:
    """Whether others wait for this very id: what belongs to a chain, a group or a chord."""
    # A signature that was frozen knows where its reply goes.
    return "reply_to" in options or "chain" in options


def _is_kept_back(app: FlaskCelery) -> bool:
    """Whether what is sent now goes into an outbox first."""
    outbox = getattr(app, "on_commit", None)
    return outbox is not None and bool(outbox.takes_calls)


def _release(ledger: Any, asked: Reservation) -> None:
    try:
        ledger.release(asked)
    except StorageError as error:
        logger.warning("The key of task %s cannot be freed just now: %s", asked.task_id, error)
