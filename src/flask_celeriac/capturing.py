"""Messages that are kept instead of being published, and whose they are.

While a call captures, nothing it does may reach the broker or the result store: its messages, and
what a result store has to be told of its chords, are collected here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

#: The header by which whoever receives a message knows that it may come twice.
HEADER = "celeriac_outbox"
#: Its value in a message that takes the place of one in an outbox, until that is sent.
ADOPTED = 2
#: The attribute of a request whose task's body has ended: what is sent then is Celery's.
OVER = "celeriac_over"


class Capture:
    """What one call would have sent.

    :param app: the Celery application it is sent by
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        #: What takes the place of a producer.
        self.producer: Any = None
        self.messages: list[Any] = []
        #: By the ids of their groups, what is to be done before any message is published.
        self.chords: dict[str, dict[str, Any]] = {}

    def chord(self, group_id: str, **values: Any) -> None:
        """Note what the result store has to know of a chord.

        :param values: ``results``, the members' results as tuples; ``size``, how many there are
        """
        self.chords.setdefault(group_id, {}).update(values)


_current: ContextVar[Capture | None] = ContextVar("flask_celeriac_capture", default=None)

_direct: ContextVar[bool] = ContextVar("flask_celeriac_direct", default=False)

#: Whether what is published here is to be published, whatever else is said.
is_direct = _direct.get

#: The capture that is going on here, None where messages are published.
current = _current.get


@contextmanager
def directly() -> Iterator[None]:
    """Let the block's messages be published."""
    token = _direct.set(True)
    try:
        yield
    finally:
        _direct.reset(token)


@contextmanager
def into(capture: Capture) -> Iterator[Capture]:
    """Let the block's messages be captured."""
    token = _current.set(capture)
    try:
        yield capture
    finally:
        _current.reset(token)


def note_chord(group_id: str, results: Any) -> bool:
    """Note that a chord begins, if messages are captured here; False where they are not.

    :param results: the members' results; a generator of them is left alone
    """
    capture = _current.get()
    if capture is None:
        return False
    # Their order and number come with the messages; how they are nested does not.
    if type(results) in (list, tuple) and any(getattr(r, "results", None) for r in results):
        capture.chord(group_id, results=[result.as_tuple() for result in results])
    return True


def note_size(group_id: str, size: int) -> bool:
    """Note how many members a chord has, if messages are captured here."""
    capture = _current.get()
    if capture is None:
        return False
    capture.chord(group_id, size=size)
    return True
