"""How long a call may wait for a broker or a result store that does not answer.

A worker has all the time in the world; whoever asked a web server for a page has not. Every wait
on the way of one call looks here whether there is time for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token

#: Seconds for a connection to come about.
CONNECT = 0.8
#: Seconds for one answer.
ANSWER = 1.0
#: Seconds for RabbitMQ to say that a message is on its disk.
CONFIRM = 1.7
#: Seconds since its beginning after which a call tries nothing again. A try that begins just
#: before takes ``ANSWER`` at most, so that the whole stays under two seconds.
LAST_TRY = 0.9
#: Seconds that the writer before us may take with the embedded file: there is no other wait.
WRITER = 1.8

_began: ContextVar[float | None] = ContextVar("flask_celeriac_call_began", default=None)


@contextmanager
def short() -> Iterator[None]:
    """Everything the block does is one call, which may not take long."""
    token = begin()
    try:
        yield
    finally:
        end(token)


def begin() -> Token[float | None] | None:
    """:func:`short`, for whom a ``with`` block takes too long; give :func:`end` what it returns."""
    return _began.set(time.monotonic()) if _began.get() is None else None


def end(token: Token[float | None] | None) -> None:
    """The call is over."""
    if token is not None:
        _began.reset(token)


def allows(pause: float = 0, limit: float = LAST_TRY) -> bool:
    """Whether there is time to try again.

    :param pause: seconds before that
    :param limit: seconds since the call began, after which there is none
    """
    began = _began.get()
    return began is None or time.monotonic() - began + pause < limit


def give_up(error: BaseException, pause: float) -> None:
    """kombu's ``errback`` of a retry policy: end the retries of a call that has no time left.

    :param error: why the last try failed; raised if there is to be no other
    :param pause: seconds before the next try
    """
    if not allows(pause):
        raise error
