"""A request that is sent again with its ``Idempotency-Key`` starts no second task."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import operations
from ..errors import UnknownTaskError
from ..operations.pruning import KEEP_KEYS
from . import queries
from .problems import Problem, later

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .context import Api

logger = logging.getLogger(__name__)

#: Seconds after which a request that started no task is taken to have been cut off.
CUT_OFF = 60.0
#: The empty text, as structured headers spell it.
EMPTY = '""'
_KEY = re.compile("[!-~]{1,255}")


@dataclass
class Claim:
    """What is to be done for a key.

    :param task_id: the task of this key; whoever starts another one instead sets it
    :param is_new: whether it has to be started
    """

    task_id: str
    is_new: bool


def fingerprint(verb: str, what: str, args: Any, kwargs: Any) -> str:
    """What tells one request from another.

    :param what: what the verb is done to: the name of a task to start, the id of one to retry
    """
    canonical = json.dumps([verb, what, args, kwargs], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


@contextmanager
def claimed(api: Api, key: str, payload: str, task_id: str) -> Iterator[Claim]:
    """Claim a key while the block starts its task. If that fails, the key is free again.

    :param payload: the :func:`fingerprint` of the request
    :param task_id: the id that a new task is to have
    :raises Problem: the key was used for something else, or another request is at it
    """
    if _KEY.fullmatch(key) is None or key == EMPTY:
        raise Problem(
            "invalid-request",
            "Idempotency-Key: give 1 to 255 letters, digits and signs of ASCII, and not none in"
            " quotes.",
        )
    # A hash, since some databases take "bob" and "Bob" for the same.
    scope = hashlib.sha256(api.actor.encode()).hexdigest() if api.actor else ""
    claim = _claim(api, scope, key, payload, task_id)
    claimed_id = claim.task_id
    try:
        yield claim
    except BaseException:
        if claim.is_new:
            with api.engine.begin() as connection:
                queries.remove_key(connection, scope, key)
        raise
    if claim.is_new:
        sent = {"fingerprint": payload, "task_id": claim.task_id}
        try:
            with api.engine.begin() as connection:
                queries.end_key(connection, scope, key, claimed_id, **sent)
        except Exception as error:  # noqa: BLE001 - the task was sent, and is not to be sent again
            logger.warning("That task %s was sent is not with its key: %s", claim.task_id, error)


def _pending(payload: str) -> str:
    """What stands in the place of a fingerprint while its task is being sent.

    Its record is no sign of that: on a broker that is a server, it is there before.
    """
    return f"?{payload[1:]}"


def _claim(api: Api, scope: str, key: str, payload: str, task_id: str) -> Claim:
    now = time.time()
    mine: dict[str, Any] = {"fingerprint": _pending(payload), "task_id": task_id, "now": now}
    try:
        with api.engine.begin() as connection:
            queries.add_key(connection, scope, key, **mine)
        return Claim(task_id, is_new=True)
    except queries.KeyIsThere:
        pass
    with api.engine.connect() as connection:
        row = queries.find_key(connection, scope, key)
    if row is None:  # the request that had it has just failed
        raise _in_progress()
    if row.created < now - KEEP_KEYS:  # workers delete such keys, now and then
        return _taken(api, scope, key, row.created, **mine)
    if row.fingerprint not in (payload, _pending(payload)):
        raise Problem(
            "key-reused", "This Idempotency-Key came with another request: use a new one."
        )
    is_known = _is_known(api, row.task_id)
    if is_known and row.fingerprint == payload:
        return Claim(row.task_id, is_new=False)
    if now - row.created < CUT_OFF:
        raise _in_progress()
    if is_known:  # whoever sent it was cut off before it could say so
        return Claim(row.task_id, is_new=False)
    return _taken(api, scope, key, row.created, **{**mine, "task_id": row.task_id})


def _taken(api: Api, scope: str, key: str, since: float, **values: Any) -> Claim:
    """Take a key over that another request has had since a moment."""
    with api.engine.begin() as connection:
        taken = queries.take_key(connection, scope, key, since, **values)
    if not taken:
        raise _in_progress()
    return Claim(values["task_id"], is_new=True)


def _is_known(api: Api, task_id: str) -> bool:
    try:
        operations.find(api.celery, task_id)
    except UnknownTaskError:
        return False
    return True


def _in_progress() -> Problem:
    detail = "Another request with this Idempotency-Key is being answered: ask again."
    return Problem("key-in-progress", detail, headers=later(1))
