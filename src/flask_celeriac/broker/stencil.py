"""Envelopes that are alike but for the id of their task: read once, then filled in."""

from __future__ import annotations

from typing import Any, NamedTuple

#: Stands for the id. No JSON text holds it: in a string it is escaped.
_BLANK = "\0"
#: How many are kept, and how many characters each may have.
_MANY = 100
_LONGEST = 4096
#: Characters of the longest id that every database takes.
_LONGEST_ID = 255
_PLAIN = (str, int, float, type(None))  # and bool, which is an int

_kept: dict[str, Stencil] = {}


class _Part(NamedTuple):
    """Headers or properties.

    :param values: of the message it was learned from
    :param ids: names of those that are the task's id
    :param nested: those that hold others, of which each message gets its own
    """

    values: dict[str, Any]
    ids: tuple[str, ...]
    nested: tuple[tuple[str, Any], ...]

    def fill(self, task_id: str) -> dict[str, Any]:
        values = self.values.copy()
        for name in self.ids:
            values[name] = task_id
        for name, value in self.nested:
            values[name] = value.copy()
        return values


class Stencil:
    """What the envelopes of most calls of a task have in common, if one client sent them.

    .. versionadded:: 0.1
    """

    __slots__ = ("_headers", "_others", "_properties", "is_sound")

    def __init__(self, others: dict[str, Any], headers: _Part, properties: _Part) -> None:
        self._others = {**others, "stencil": self}
        self._headers, self._properties = headers, properties
        #: Whether somebody has looked at the headers, which are the same but for the id.
        self.is_sound = False

    def fill(self, task_id: str) -> dict[str, Any]:
        """The message of another task."""
        return {
            **self._others,
            "headers": self._headers.fill(task_id),
            "properties": self._properties.fill(task_id),
        }


def known(text: str, task_id: str | None) -> dict[str, Any] | None:
    """The message whose envelope this is, if one like it was learned; without its body."""
    if not task_id or len(task_id) > _LONGEST_ID:
        return None
    if not task_id.replace("-", "").isalnum():  # JSON writes others in other ways
        return None
    stencil = _kept.get(text.replace(task_id, _BLANK))
    return None if stencil is None else stencil.fill(task_id)


def learn(text: str, task_id: str | None, message: dict[str, Any]) -> None:
    """Remember an envelope for those that are like it, unless there is more to it than values.

    :param message: what was read from it
    """
    if not task_id or len(text) > _LONGEST or any(map(_is_ours, message["headers"])):
        return
    others = {name: value for name, value in message.items() if isinstance(value, _PLAIN)}
    headers, properties = (_part(message[name], task_id) for name in ("headers", "properties"))
    if headers is None or properties is None or len(others) != len(message) - 2:
        return
    blank = text.replace(task_id, _BLANK)
    # Where the id is within something else, or a name, what differs is not known.
    if blank.count(_BLANK) != len(headers.ids) + len(properties.ids):
        return
    if len(_kept) >= _MANY:
        _kept.clear()
    _kept[blank] = Stencil(others, headers, properties)


def _is_ours(header: str) -> bool:
    """Whether it is of a request, a trace or a signature, which no other message has."""
    return header.startswith("celeriac_")


def _part(values: Any, task_id: str) -> _Part | None:
    nested = []
    for name, value in values.items():
        if isinstance(value, _PLAIN):
            continue
        if type(value) not in (dict, list):
            return None
        inner = value.values() if type(value) is dict else value
        if not all(isinstance(one, _PLAIN) for one in inner):
            return None
        nested.append((name, value.copy()))
    ids = tuple(name for name, value in values.items() if value == task_id)
    return _Part(values.copy(), ids, tuple(nested))
