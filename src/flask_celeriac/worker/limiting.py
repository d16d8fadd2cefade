"""A run that a limit does not let begin is put off, before anything of it has run."""

from __future__ import annotations

import logging
import random
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celery.exceptions import Ignore, Reject

from .. import capturing, task_keys
from ..errors import ConfigError, StorageError
from ..ledgers import NO_END
from ..limits import MARK, PERMIT, TICKET, WAITS, begin_of
from ..records.description import AGAIN, UNKNOWN_SINCE
from .second import is_second

if TYPE_CHECKING:
    from ..limits import Limit, Rate

#: Seconds for which the first in the line is put off, unless a slot becomes free that calls it.
FIRST = 1.0
#: Seconds more for each that is before it, so that all together look about so often.
EACH = 0.02
#: Seconds for which one is put off at most.
LONGEST = 600.0
#: Seconds until another try where the database does not answer.
UNKNOWN = 5.0
#: Seconds after its moment for which a rate's permit is good. What comes later, after all workers
#: were gone, asks anew: else everything that was due meanwhile would begin at once.
LATE = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Held:
    """A slot that a run has."""

    key: str
    number: int
    tag: str


def enter(task: Any, request: Any) -> Held | None:
    """Take a slot for a run and count its begin, as its task's limits say.

    :return: a slot, to be given back with :func:`leave`
    :raises celery.exceptions.Ignore: the run may not begin yet, and will come again
    """
    held = None
    try:
        if task.concurrency is not None:
            held = _take_slot(task, request, task.concurrency)
        if task.rate is not None and not _has_permit(request):
            _count(task, request, task.rate)
    except StorageError as error:
        leave(task, held)
        logger.warning("Whether task %s may begin cannot be told just now: %s", request.id, error)
        raise _put_off(task, request, time.time() + UNKNOWN, {WAITS: "database"}) from None
    except BaseException:
        leave(task, held)
        raise
    return held


def leave(task: Any, held: Held | None) -> None:
    """Give a run's slot back; should that fail, its end tells the same a little later."""
    if held is None:
        return
    try:
        task.app.ledger.give_slot_back(held.key, held.number, held.tag)
    except StorageError as error:
        logger.warning("A slot of %s cannot be given back just now: %s", held.key, error)


def _take_slot(task: Any, request: Any, limit: Limit) -> Held:
    ledger = task.app.ledger
    if not (task.acks_late or ledger.follows_early_acks):
        raise ConfigError(f"{task.name}: {NO_END}")
    key = task_keys.of_run(task, limit.key, request.args, request.kwargs)
    ticket = (request.headers or {}).get(TICKET)
    ticket = ticket if isinstance(ticket, int) else 0
    found = ledger.take_slot(key, limit.at_once, request, ticket)
    if found.number:
        return Held(key, found.number, found.tag)
    pause = min(FIRST + EACH * found.before, LONGEST) * random.uniform(0.8, 1.2)
    raise _put_off(task, request, time.time() + pause, {TICKET: found.ticket, WAITS: "slot"})


def _has_permit(request: Any) -> bool:
    permit = (request.headers or {}).get(PERMIT)
    if not isinstance(permit, list) or len(permit) != 2 or permit[0] != request.retries:
        return False
    return isinstance(permit[1], float) and time.time() < permit[1] + LATE


def _count(task: Any, request: Any, rate: Rate) -> None:
    key = task_keys.of_run(task, rate.key, request.args, request.kwargs)
    kept = task.app.ledger.advance(key, rate.interval)
    now = time.time()
    begin = begin_of(kept, now, rate)
    if begin > now:
        permit = [request.retries, begin]
        raise _put_off(task, request, begin, {PERMIT: permit, WAITS: "rate"})


def _put_off(task: Any, request: Any, due: float, headers: dict[str, Any]) -> Exception:
    """Have a run come again later; it counts as no attempt, and keeps its place where it can.

    :return: what ends this run
    """
    waits = _WORDS[str(headers[WAITS])]
    put_off = getattr(task.app.ledger, "put_off", None)
    try:
        if put_off is None or not task.acks_late:  # which has no message any more
            _send_again(task, request, due, headers)
        elif not put_off(request.properties["delivery_tag"], due, {UNKNOWN_SINCE: None, **headers}):
            return Ignore("it was taken from this worker, which was stopped for too long")
    except Exception as error:  # noqa: BLE001 - whatever it is, the message is still there
        if not task.acks_late:  # it is not: nobody would hear of it
            return error
        logger.warning("Task %s cannot be put off, and is given back: %s", request.id, error)
        return Reject(error, requeue=True)
    logger.info("Task %s[%s] is put off: it waits for its %s", task.name, request.id, waits)
    return Ignore(f"waits for its {waits}")


def _send_again(task: Any, request: Any, due: float, headers: dict[str, Any]) -> None:
    headers = {**(request.headers or {}), **headers, MARK: secrets.token_hex(8)}
    if is_second(task, request):  # so is what takes its place
        headers = {**headers, capturing.HEADER: capturing.ADOPTED}
        headers.pop(UNKNOWN_SINCE, None)
    else:  # the first message comes again if this worker dies before it has acknowledged it
        headers[AGAIN] = 1
    again = task.signature_from_request(
        request,
        request.args,
        request.kwargs,
        eta=datetime.fromtimestamp(due, timezone.utc),
        retries=request.retries,
        headers=headers,
    )
    with capturing.directly():  # whatever becomes of the transaction that somebody has open here
        again.apply_async()


_WORDS = {"slot": "concurrency limit", "rate": "rate limit", "database": "database"}
