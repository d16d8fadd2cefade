"""The message of a plain call of a task, learned from one that Celery made."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from ..learned import LearnedText, Place, in_headers
from .envelope import encode
from .queries import Row

if TYPE_CHECKING:
    from .store import Store

_recording: ContextVar[list[tuple[Store, Row]] | None] = ContextVar("recording", default=None)

#: What differs from one plain call of a task to the next, besides the headers and the body.
_PROPERTIES: dict[Place, str] = {
    ("properties", "correlation_id"): "id",
    ("properties", "reply_to"): "reply_to",
}


@contextmanager
def recorded() -> Iterator[list[tuple[Store, Row]]]:
    """Collect the rows that this thread puts, and the stores it puts them into."""
    rows: list[tuple[Store, Row]] = []
    token = _recording.set(rows)
    try:
        yield rows
    finally:
        _recording.reset(token)


def record(store: Store, row: Row) -> None:
    """Note a row that is put, if somebody wants to know."""
    rows = _recording.get()
    if rows is not None:
        rows.append((store, row))


class Template:
    """Makes rows that are as Celery's own, but for what differs from call to call.

    .. versionadded:: 0.1
    """

    __slots__ = ("_envelope", "_row")

    def __init__(self, row: Row, envelope: LearnedText) -> None:
        self._row = row
        self._envelope = envelope

    @classmethod
    def learn(cls, row: Row, headers: Iterable[str]) -> Template | None:
        """The template of a row, or None when it is not that of a plain call.

        :param headers: other headers whose values differ from call to call, too.
        """
        if row.due is not None or row.expires is not None or row.task_id is None:
            return None
        places = {**in_headers(headers), **_PROPERTIES}
        envelope = LearnedText.learn(row.envelope, places, encode, encode_basestring)
        return None if envelope is None else cls(row, envelope)

    def make(self, fields: dict[str, str], body: str | bytes) -> Row:
        """The row of another call.

        :param fields: ``id``, ``args``, ``kwargs``, ``reply_to``, and those other headers.
        """
        learned = self._row
        return Row(
            learned.queue,
            learned.priority,
            fields["id"],
            learned.task,
            None,
            None,
            time.time(),
            self._envelope.fill(fields),
            body,
        )
