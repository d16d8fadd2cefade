"""The states of a task's record, and which of them may follow which.

Celery's states say what a result backend knows; these say where a task is. One table drives the
statements that write records, the drawing in the documentation, and a test that walks it.
"""

from __future__ import annotations

from typing import Final

#: It has an ``eta`` that has not come.
SCHEDULED: Final = "scheduled"
#: It waits in its queue.
QUEUED: Final = "queued"
#: A worker is at it.
RUNNING: Final = "running"
#: An attempt failed, and the next one waits for its time.
RETRYING: Final = "retrying"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
#: Somebody took it back before its end.
REVOKED: Final = "revoked"
#: Its ``expires`` came before a worker did.
EXPIRED: Final = "expired"
#: It was given up: it could not be read, or killed its worker too often.
DEAD: Final = "dead"

#: All of them, in the order of a task's life.
STATES: Final = (
    SCHEDULED,
    QUEUED,
    RUNNING,
    RETRYING,
    SUCCEEDED,
    FAILED,
    REVOKED,
    EXPIRED,
    DEAD,
)
#: Those after which no attempt is to come.
ENDED: Final = (SUCCEEDED, FAILED, REVOKED, EXPIRED, DEAD)
#: Words that go with "has", as the others do with "is".
_WITH_HAS: Final = (SUCCEEDED, FAILED, EXPIRED)
#: Those of a task that is still to run, or runs.
OPEN: Final = (SCHEDULED, QUEUED, RUNNING, RETRYING)

#: The states that may follow each. A record that could not be written in time leaves a state out,
#: so that every later one may follow. A failure is not the last word, as a task may be sent again
#: under its id; a message that comes a second time is no reason. A success is.
TRANSITIONS: Final[dict[str, tuple[str, ...]]] = {
    SCHEDULED: (SCHEDULED, QUEUED, RUNNING, RETRYING, *ENDED),
    QUEUED: (SCHEDULED, QUEUED, RUNNING, RETRYING, *ENDED),
    RUNNING: (QUEUED, RUNNING, RETRYING, *ENDED),
    RETRYING: (QUEUED, RUNNING, RETRYING, *ENDED),
    FAILED: (RUNNING, RETRYING, SUCCEEDED, FAILED, DEAD),
    SUCCEEDED: (),
    REVOKED: (),
    EXPIRED: (),
    DEAD: (),
}

_OF_CELERY: Final = {
    "PENDING": QUEUED,
    "RECEIVED": QUEUED,
    "RETRY": RETRYING,
    "SUCCESS": SUCCEEDED,
    "FAILURE": FAILED,
    "REVOKED": REVOKED,
    "REJECTED": DEAD,
    "IGNORED": SUCCEEDED,
}

#: How a result backend of Celery's calls an end.
_ENDS: Final = {
    SUCCEEDED: "SUCCESS",
    FAILED: "FAILURE",
    REVOKED: "REVOKED",
    EXPIRED: "REVOKED",
}


def sources(state: str) -> tuple[str, ...]:
    """The states that a state may follow."""
    return tuple(source for source, targets in TRANSITIONS.items() if state in targets)


def in_words(state: str) -> str:
    """A state after "the task": ``has failed``, ``is revoked``."""
    return f"has {state}" if state in _WITH_HAS else f"is {state}"


def of_celery(status: str) -> str:
    """The state of a record whose result backend has this state of Celery's, or of the user's own.

    :param status: such as ``"SUCCESS"``, or ``"PROGRESS"``, which only a running task has
    """
    return _OF_CELERY.get(status, RUNNING)


def in_celery(state: str) -> str | None:
    """Celery's word for the end of a task that ran or was taken back, None for other states."""
    return _ENDS.get(state)
