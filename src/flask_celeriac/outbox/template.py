"""The row of a plain call of a task in the outbox, learned from one that Celery made."""

from __future__ import annotations

from collections.abc import Iterable
from json.encoder import encode_basestring_ascii

from ..learned import LearnedText, Place, in_headers
from .message import Packed, encode

#: What differs from one plain call of a task to the next, besides the headers.
_OTHERS: dict[Place, str] = {
    ("body",): "body",
    ("options", "correlation_id"): "id",
    ("options", "reply_to"): "reply_to",
}


class Template:
    """Makes packed messages that are as Celery's own, but for what differs from call to call.

    .. versionadded:: 0.1
    """

    __slots__ = ("_packed", "_text")

    def __init__(self, packed: Packed, text: LearnedText) -> None:
        self._packed = packed
        self._text = text

    @classmethod
    def learn(cls, packed: Packed, headers: Iterable[str]) -> Template | None:
        """The template of a packed message, or None when it is not that of a plain call.

        :param headers: other headers whose values differ from call to call, too
        """
        if packed.is_special:
            return None
        places = {**in_headers(headers), **_OTHERS}
        text = LearnedText.learn(packed.text, places, encode, encode_basestring_ascii)
        return None if text is None else cls(packed, text)

    def make(self, fields: dict[str, str], body: str | bytes) -> Packed:
        """The packed message of another call.

        :param fields: ``id``, ``args``, ``kwargs``, ``reply_to``, and those other headers
        :param body: a text, as that of the learned one
        """
        if not isinstance(body, str):
            raise TypeError("the learned body was a text")
        text = self._text.fill({**fields, "body": body})
        return self._packed._replace(task_id=fields["id"], text=text)
