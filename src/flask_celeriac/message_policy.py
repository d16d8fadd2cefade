"""What an application lets into its messages: how much, how deep, which formats, signed or not."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from .config import CeleriacOptions, warn
from .errors import ConfigError, MessageRefusedError
from .plain_json import registry
from .spelling import closest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .celery_app import FlaskCelery
    from .config import Settings

#: Formats that can make more of a few bytes than data, by their content types.
UNSAFE = {"application/x-python-serialize": "pickle", "application/x-yaml": "yaml"}
#: Encodings in which a bracket is a bracket. Any other codec of Python, such as ``zlib_codec`` or
#: ``utf-7``, could hide what is in a body from those who look at it.
ENCODINGS = frozenset({"utf-8", "us-ascii", "ascii", "binary", "ascii-8bit"})
#: Settings of Celery that name formats.
_FORMATS = (
    *("accept_content", "result_accept_content", "task_serializer", "result_serializer"),
    "event_serializer",
)

_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
#: One level down, one level up, as signed bytes.
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
#: A text, also one that does not end: otherwise each quote in it would be a beginning to look at.
_TEXT = re.compile(rb'"[^"]*"?')
#: The format whose depth is counted: parsers of others have limits of their own.
_COUNTED = "application/json"


@dataclass(frozen=True)
class MessagePolicy:
    """What an application lets into its messages.

    :param size: bytes a body may have; 0 is no limit
    :param depth: how many lists and mappings may be in each other; 0 is no limit
    :param signing_keys: secrets, the first one signs; none: messages are not signed
    :param accepted: the content types that are read
    :param allow_pickle: whether formats may be sent that workers do not read by default
    :param show_arguments: whether the values of arguments are told to others than the task

    .. versionadded:: 0.1
    """

    size: int
    depth: int
    accepted: frozenset[str]
    allow_pickle: bool = False
    signing_keys: tuple[bytes, ...] = field(default=(), repr=False)
    show_arguments: bool = False

    @cached_property
    def harmless(self) -> int:
        """Bytes of a body that cannot break a limit, so that the others need no look."""
        limits = [self.size or None, 2 * self.depth or None]
        return min((limit for limit in limits if limit is not None), default=1 << 62)

    def is_too_deep(self, body: bytes, content_type: str) -> bool:
        """Whether more lists and mappings are in each other than there may be."""
        return bool(self.depth) and content_type == _COUNTED and is_deeper(body, self.depth)

    def check(self, name: str, body: str | bytes, content_type: str) -> None:
        """Refuse a body that is about to be sent, if it breaks a limit.

        :param name: the task's
        :param content_type: the body's
        :raises MessageRefusedError: it does
        """
        data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        if self.size and len(data) > self.size:
            raise MessageRefusedError(
                f"{name}: the message takes {len(data):,} bytes, and CELERIAC_MAX_MESSAGE_SIZE is"
                f" {self.size:,}: store the data and pass its id, or raise the limit"
            )
        if self.is_too_deep(data, content_type):
            raise MessageRefusedError(
                f"{name}: its arguments are nested deeper than CELERIAC_MAX_MESSAGE_DEPTH, which is"
                f" {self.depth}: pass flatter data, or raise the limit"
            )

    def check_format(self, name: str, content_type: str) -> None:
        """Refuse to send what workers refuse to read.

        :raises MessageRefusedError: they do
        """
        if content_type in UNSAFE and not self.allow_pickle:
            raise MessageRefusedError(
                f"{name}: workers do not read {UNSAFE[content_type]}: use"
                ' serializer="json", or, if nobody else can write to the broker, set'
                " CELERIAC_ALLOW_PICKLE = True and name the format in accept_content"
            )


def policy_of(app: FlaskCelery) -> MessagePolicy:
    """The policy of an application's configuration; the defaults' where it has none of ours."""
    state = app.celeriac
    options: CeleriacOptions = state.settings.options if state else CeleriacOptions()
    accepted = content_types(app.conf.accept_content or ())
    if not options.allow_pickle:
        accepted -= set(UNSAFE)
    return MessagePolicy(
        size=options.max_message_size,
        depth=options.max_message_depth,
        accepted=frozenset(accepted),
        allow_pickle=options.allow_pickle,
        signing_keys=tuple(key.encode() for key in options.signing_keys),
        show_arguments=options.show_arguments,
    )


def check_settings(settings: Settings) -> None:
    """Refuse formats that run or build what they are told to, unless they are asked for by name.

    A format that is not known, but like one that is, is warned of.

    :raises ConfigError: one is named, without ``CELERIAC_ALLOW_PICKLE``
    """
    for key in _FORMATS:
        given = settings.celery.get(key) or ()
        names = [given] if isinstance(given, str) else given
        _warn_of_mistakes(names, str(settings.origins.get(key)))
        for content_type in content_types(names):
            if content_type in UNSAFE and not settings.options.allow_pickle:
                raise ConfigError(
                    f"{settings.origins[key]}: {UNSAFE[content_type]} lets whoever can write to the"
                    " broker or the result store run code or exhaust memory: use json, or set"
                    " CELERIAC_ALLOW_PICKLE = True if only you can write there"
                )


def _warn_of_mistakes(names: Iterable[Any], where: str) -> None:
    known = [*registry.name_to_type, *registry.type_to_name]
    for name in names:
        close = closest(name, known) if isinstance(name, str) and name not in known else None
        if close:
            warn(
                f"{where}: no format {name!r} is known: did you mean {close!r}? One of your own is"
                " known once kombu.serialization.register() was called, before init_app()"
            )


def content_types(names: Iterable[Any]) -> set[str]:
    """The content types of serializers, which may be named by those."""
    known: dict[str, str] = registry.name_to_type
    return {known.get(name, name) for name in names if isinstance(name, str)}


def is_deeper(body: bytes, limit: int) -> bool:
    """Whether more lists and mappings than this are in each other in a JSON text.

    Nothing is parsed, so that no depth is too much.
    """
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    steps = array("b", outside_texts(body).translate(_STEPS, _ALL_BUT_BRACKETS))
    return max(accumulate(steps), default=0) > limit


def outside_texts(body: bytes) -> bytes:
    """What is not in quotes in a JSON text. Each byte is looked at once, whatever there is."""
    if b"\\" in body:
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    return _TEXT.sub(b"", body)
