"""The text of a message, learned from one that Celery made, to be filled in for the next ones."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: Where something stands in a JSON text: the names of the mappings it is in, and its own.
Place = tuple[str, ...]

#: What differs from one plain call of a task to the next in the headers of its messages.
HEADERS = {"id": "id", "root_id": "id", "argsrepr": "args", "kwargsrepr": "kwargs"}
#: Moments, which no two calls have in common.
_MOMENTS = ("eta", "expires")


class LearnedText:
    """Makes texts that are as the one it was learned from, but for what differs.

    :param text: with a mark for each value that does
    :param quoted: writes a text as JSON

    .. versionadded:: 0.1
    """

    __slots__ = ("_quoted", "_text")

    def __init__(self, text: str, quoted: Callable[[str], str]) -> None:
        self._text = text
        self._quoted = quoted

    @classmethod
    def learn(
        cls,
        text: str,
        places: Mapping[Place, str],
        encode: Callable[[Any], str],
        quoted: Callable[[str], str],
    ) -> LearnedText | None:
        """What makes such texts, None where that is not the text of a plain call.

        :param text: JSON, a mapping with the message's ``headers``
        :param places: the names of the values that differ, by where they stand
        :param encode: writes JSON as the text is written
        :param quoted: likewise, a text
        """
        try:
            data = json.loads(text)
            if any(data["headers"].get(name) is not None for name in _MOMENTS):
                return None
            fields, marks = _mark(data, places)
            marked = encode(data).replace("%", "%%")
        except (LookupError, TypeError, ValueError):
            return None
        for name, mark in marks.items():
            marked = marked.replace(quoted(mark), f"%({name})s")
        found = cls(marked, quoted)
        return found if found.fill(fields) == text else None

    def fill(self, fields: Mapping[str, str]) -> str:
        """The text of another call.

        :param fields: the values, by the names that ``places`` gave them
        """
        return self._text % {name: self._quoted(value) for name, value in fields.items()}


def in_headers(others: Iterable[str]) -> dict[Place, str]:
    """Where :data:`HEADERS` stand, and other headers whose values differ, too."""
    names = {**HEADERS, **{name: name for name in others}}
    return {("headers", header): name for header, name in names.items()}


def _mark(data: Any, places: Mapping[Place, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Put marks where values differ from call to call; return the values, and the marks."""
    fields: dict[str, str] = {}
    marks: dict[str, str] = {}
    for place, name in places.items():
        *outer, key = place
        there = data
        for part in outer:
            there = there[part]
        value = there[key]
        if not isinstance(value, str) or fields.setdefault(name, value) != value:
            raise ValueError(f"{key} is not what it is in a plain call")
        there[key] = marks.setdefault(name, uuid.uuid4().hex)
    return fields, marks
