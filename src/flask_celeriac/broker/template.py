"""The message of a plain call of a task, learned from one that Celery made."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from json.encoder import encode_basestring as quoted
from typing import TYPE_CHECKING, Any

from .envelope import encode
from .queries import Row

if TYPE_CHECKING:
    from .store import Store

_recording: ContextVar[list[tuple[Store, Row]] | None] = ContextVar("recording", default=None)

#: What differs from one plain call of a task to the next, besides the body.
_VARYING = {
    "headers": {"id": "id", "root_id": "id", "argsrepr": "args", "kwargsrepr": "kwargs"},
    "properties": {"correlation_id": "id", "reply_to": "reply_to"},
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

    __slots__ = ("_row", "_text")

    def __init__(self, row: Row, text: str) -> None:
        self._row = row
        self._text = text

    @classmethod
    def learn(cls, row: Row, headers: Iterable[str]) -> Template | None:
        """The template of a row, or None when it is not that of a plain call.

        :param headers: other headers whose values differ from call to call, too.
        """
        if row.due is not None or row.expires is not None or row.task_id is None:
            return None
        try:
            envelope = json.loads(row.envelope)
            fields, marks = _mark(envelope, headers)
        except (KeyError, ValueError):
            return None
        text = encode(envelope).replace("%", "%%")
        for name, mark in marks.items():
            text = text.replace(quoted(mark), f"%({name})s")
        if fields["id"] != row.task_id or text % _encoded(fields) != row.envelope:
            return None
        return cls(row, text)

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
            self._text % _encoded(fields),
            body,
        )


def _mark(
    envelope: dict[str, Any], headers: Iterable[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Put marks where values differ from call to call; return the values, and the marks."""
    places = {part: dict(names) for part, names in _VARYING.items()}
    places["headers"].update((name, name) for name in headers)
    fields: dict[str, str] = {}
    marks: dict[str, str] = {}
    for part, names in places.items():
        for key, name in names.items():
            value = envelope[part][key]
            if not isinstance(value, str) or fields.setdefault(name, value) != value:
                raise ValueError(f"{key} is not what it is in a plain call")
            envelope[part][key] = marks.setdefault(name, uuid.uuid4().hex)
    return fields, marks


def _encoded(fields: dict[str, str]) -> dict[str, str]:
    return {name: quoted(value) for name, value in fields.items()}
