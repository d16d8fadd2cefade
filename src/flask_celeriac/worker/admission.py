"""Whether a run that a worker is about to begin may begin, asked in the process that runs it."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from celery import states as celery_states
from celery.exceptions import Ignore

from .. import capturing, signing, states
from ..records.description import AGAIN, CRASHES, REVOKED
from ..verification import Complaint
from . import limiting, lost
from .second import is_second

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..records.gate_queries import Standing

#: Headers of messages that may be the second one of their task.
MARKS = frozenset({capturing.HEADER, AGAIN, CRASHES, REVOKED})
#: Unless the application says otherwise.
MAX_ATTEMPTS = 5

logger = logging.getLogger(__name__)


def admit(task: Any, request: Any) -> limiting.Held | None:
    """Let a run begin, and record that it does.

    :return: what is to be given back at its end with :func:`limiting.leave`
    :raises celery.exceptions.Ignore: it is not to run, or not yet; its message is acknowledged
    """
    if task.limited:
        _leave_to_the_first(task, request)
    # First, so that of a run that is put off nobody knows.
    held = limiting.enter(task, request) if task.limited else None
    try:
        _begin(task, request)
    except BaseException:
        limiting.leave(task, held)
        raise
    return held


def _begin(task: Any, request: Any) -> None:
    recorder = getattr(task.app, "recorder", None)
    if recorder is None:
        return
    again = may_have_come_before(request)
    if again:
        lost.note(task.app, request)
    # Who cannot sign can still send what was signed a second time.
    signed = bool(request.headers) and signing.HEADER in request.headers
    if recorder.is_needed:
        second = again and is_second(task, request)
        standing = recorder.began(
            request, again=again or signed, second=second, limit=limit_of(task)
        )
    else:
        standing = recorder.over(request) if again or signed else None
        standing = standing or _taken_back(request)
        if again and standing is None and not _held(task, request, recorder):
            raise Ignore("it was taken from this worker, which was stopped for too long")
    if standing is not None:
        _turn_away(task, request, standing)


def leave(task: Any, request: Any) -> None:
    """Record that a run has ended without a state, as the task wished."""
    recorder = getattr(task.app, "recorder", None)
    if recorder is not None and recorder.is_needed:
        recorder.left(request)


def may_have_come_before(request: Any) -> bool:
    """Whether a message of this task may have been here before, so that it may have ended."""
    delivery = request.delivery_info
    if delivery and delivery.get("redelivered"):
        return True
    headers = request.headers
    return bool(headers) and not MARKS.isdisjoint(headers)


def _leave_to_the_first(task: Any, request: Any) -> None:
    """Turn a second message away before it asks for a slot, which the first one may have.

    :raises celery.exceptions.Ignore: the task runs, or has ended
    """
    recorder = getattr(task.app, "recorder", None)
    if recorder is None or not recorder.is_needed or not is_second(task, request):
        return
    standing = recorder.over(request, second=True)
    if standing is not None:
        _turn_away(task, request, standing)


def _taken_back(request: Any) -> Standing | None:
    """That a task was taken back while a worker had its message.

    Another one, which has died since; or this one, where Celery does not look any more once the
    task waits for a thread.
    """
    if REVOKED not in (request.headers or ()) and request.id not in _revoked():
        return None
    from ..records.gate_queries import Standing  # with SQLAlchemy

    return Standing(states.REVOKED, attempts=0, run=None, crashes=0, error_type=None)


@functools.cache
def _revoked() -> Collection[str]:
    """What this worker was told of tasks that were taken back."""
    from celery.worker.state import revoked  # costly, and there already in a worker

    return revoked


def _held(task: Any, request: Any, recorder: Any) -> bool:
    """Count a run of an embedded message that was claimed before, if it is claimed still."""
    if not request.delivery_info.get("redelivered"):
        return True
    return recorder.count_start(request) or not task.acks_late


def limit_of(task: Any) -> int:
    """How many runs of a task may be cut off by the death of their process; 0 for any number."""
    own: int | None = getattr(task, "max_attempts", None)
    if own is not None:
        return own
    state = getattr(task.app, "celeriac", None)
    return MAX_ATTEMPTS if state is None else int(state.settings.options.max_attempts)


def crash_text(number: int) -> str:
    """What is said of a task that was cut off too often."""
    return (
        f"{number} of its runs were cut off by the death of their process, which it may have"
        " caused: see what it does there, raise max_attempts if it is innocent, and send it again"
    )


def _turn_away(task: Any, request: Any, standing: Standing) -> None:
    """Leave a task to what has become of it."""
    if standing.state == states.RUNNING and standing.crashes:
        from .. import dead_letters  # costly, and rarely of use

        letter = dead_letters.letter_of_request(request)
        why = Complaint("crashed", crash_text(standing.crashes))
        dead_letters.bury_letter(task.app, letter, why)
        standing = standing._replace(state=states.DEAD)
    else:
        logger.info("Task %s is %s and is not run again", request.id, standing.state)
        if standing.state == states.FAILED:
            _tell_again(task, request, standing)
        elif standing.state == states.REVOKED:
            task.backend.mark_as_revoked(
                request.id, "revoked", request=request, store_result=not request.ignore_result
            )
    raise Ignore(f"it is {standing.state}")


def _tell_again(task: Any, request: Any, standing: Standing) -> None:
    """Tell of a failure those who wait for it: its worker may have died before it could."""
    if not (request.chord or request.chain or request.errbacks):
        return
    backend = task.backend
    try:
        error, traceback = backend.get_result(request.id), backend.get_traceback(request.id)
    except Exception:  # noqa: BLE001 - there is no such backend, or it is out of reach
        error, traceback = None, None
    if not isinstance(error, BaseException):  # nobody wanted its result
        error = RuntimeError(f"{standing.error_type or 'It failed'}")
    # Those who were told already are told once more.
    backend.mark_as_failure(
        request.id,
        error,
        traceback,
        request=request,
        store_result=not request.ignore_result,
        state=celery_states.FAILURE,
    )
