"""Whether a message may become a task, looked at before its body is decoded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery.app.task import Context
from celery.utils.time import maybe_iso8601

from . import capturing, signing
from .message_policy import ENCODINGS
from .records import description

if TYPE_CHECKING:
    from .celery_app import FlaskCelery

#: Characters that the headers of a message may have, with their names and what is in them.
LONGEST_HEADERS = 65_536
#: How many lists and mappings may be in each other in a header.
_DEEPEST_HEADER = 20
#: Characters of an id or a name.
_LONGEST_NAME = 255

_TEXT = (str, type(None))
_NUMBER = (int, float, type(None))
#: What Celery's headers are. It trusts them, and stops where they are something else.
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("task", "id"), (str,)),
    **dict.fromkeys(("root_id", "parent_id", "group", "shadow", "eta", "expires"), _TEXT),
    **dict.fromkeys(("argsrepr", "kwargsrepr", "origin", "lang", "compression"), _TEXT),
    **dict.fromkeys(("retries", "group_index", "replaced_task_nesting"), (int, type(None))),
    "ignore_result": (bool, type(None)),
    "timelimit": (list, tuple, type(None)),
    "stamped_headers": (list, tuple, type(None)),
    **dict.fromkeys(("stamps", "headers"), (dict, type(None))),
    **dict.fromkeys(("celeriac_retry_of", "celeriac_schedule"), _TEXT),
    **dict.fromkeys(("celeriac_request_id", "celeriac_trace_id", signing.HEADER), _TEXT),
    "celeriac_labels": (list, tuple, type(None)),
}
#: Headers that end in columns of the records.
_NAMES = (
    *("task", "id", "root_id", "parent_id", "group", "celeriac_retry_of", "celeriac_schedule"),
    *("celeriac_request_id", "celeriac_trace_id"),
)
#: Headers that are lists of texts, and that are dates.
_LISTS = ("stamped_headers", "celeriac_labels")
_MOMENTS = ("eta", "expires")
#: The time limits of a task that has none.
_NO_LIMITS = [None, None]
#: What no column of an attempt's number holds.
_TOO_MANY = 2**31 - 1
#: What a body holds besides arguments: tasks that are sent after it.
_FOLLOWING = ("callbacks", "errbacks", "chain", "chord")
#: What a request is, or is given while it runs. Celery makes attributes of it of all headers: these
#: are none, or whoever adds one to a message that was signed could change what becomes of it.
_OF_A_REQUEST = frozenset(
    (
        *(name for name, value in vars(Context).items() if name[0] == "_" or callable(value)),
        *("called_directly", "is_eager", capturing.OVER, *description.OF_A_RUN),
    )
)


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Complaint:
    """Why a message is not run.

    :param reason: one word for lists and programs, such as ``"signature"``
    :param text: a sentence for people, with the remedy where there is one
    :param forged: whoever sent it may not be who it says: what it says of itself, its id above
        all, is not believed
    """

    reason: str
    text: str
    forged: bool = False


@dataclass(frozen=True)
class _Shape:
    """What is known of headers by their names and the kinds of their values.

    :param length: of all names
    :param texts: which are texts
    :param holders: which may hold others
    :param names: which of :data:`_NAMES` are there
    :param closely: whether any of :data:`_LISTS` or :data:`_MOMENTS` is there
    """

    length: int
    texts: tuple[str, ...]
    holders: tuple[str, ...]
    names: tuple[str, ...]
    closely: bool


#: By the names and kinds of the headers: those of most messages are the same.
_shapes: dict[tuple[Any, ...], _Shape] = {}
_MANY_SHAPES = 200
#: Characters that the names of headers have together in a shape that is kept.
_LONGEST_SHAPE = 4096


def complaint(app: FlaskCelery, message: Any) -> Complaint | None:
    """What is wrong with a message, None where nothing is.

    Looks at its size, its headers, its format and its signature, and only then lets kombu decode
    its body, which the message keeps for Celery.

    :param app: the application it was sent to
    :param message: as kombu received it
    """
    try:
        return (
            _of_format(app, message)
            or _of_size(app, message)
            or _of_new_headers(message)
            or _of_signature(app, message)
            or _of_body(message)
        )
    except Exception as error:
        logger.exception("A message cannot be looked at, so that it is not run")
        return Complaint("invalid", f"it cannot be looked at: {type(error).__name__}", forged=True)


def _of_format(app: FlaskCelery, message: Any) -> Complaint | None:
    if message.errors:
        return Complaint("undecodable", f"its body cannot be unpacked: {message.errors[0][1]}")
    if message.content_type not in app.policy.accepted:
        return Complaint(
            "content",
            f"its content type {_quoted(message.content_type)} is not accepted: send JSON, or add"
            " it to accept_content (pickle and yaml need CELERIAC_ALLOW_PICKLE besides)",
        )
    encoding = message.content_encoding
    if not isinstance(encoding, str) or encoding.lower() not in ENCODINGS:
        return Complaint("content", f"its content encoding {_quoted(encoding)} is not accepted")
    return None


def _of_size(app: FlaskCelery, message: Any) -> Complaint | None:
    policy, body = app.policy, message.body
    if not isinstance(body, (str, bytes, bytearray, memoryview)):
        return Complaint("undecodable", "its body is neither text nor bytes")
    if len(body) <= policy.harmless:
        return None
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
    if policy.size and len(data) > policy.size:
        return Complaint(
            "size",
            f"its body has {len(data):,} bytes, and CELERIAC_MAX_MESSAGE_SIZE is {policy.size:,}",
        )
    if policy.is_too_deep(data, message.content_type):
        return Complaint("depth", f"it is nested deeper than {policy.depth}, our limit")
    return None


def _of_new_headers(message: Any) -> Complaint | None:
    """Of messages that the embedded broker knows to be alike, the headers of one are looked at."""
    stencil = getattr(message, "stencil", None)
    if stencil is None:
        return _of_headers(message.headers)
    found = None if stencil.is_sound else _of_headers(message.headers)
    stencil.is_sound = found is None
    return found


def _of_headers(headers: Any) -> Complaint | None:
    if type(headers) is not dict and not isinstance(headers, Mapping):
        return Complaint("invalid", "its headers are no mapping")
    key = (*headers, *map(type, headers.values()))
    shape = _shapes.get(key)
    if shape is None:
        found = _shape_of(headers)
        if isinstance(found, Complaint):
            return found
        shape = found
        _keep(key, shape)
    size = shape.length + len("".join([headers[name] for name in shape.texts]))
    for name in shape.holders:
        if headers[name]:
            size += _weight(headers[name])
    if size > LONGEST_HEADERS:
        text = f"its headers have {size:,} characters, more than {LONGEST_HEADERS:,}"
        return Complaint("size", text)
    return _of_names(headers, shape) or _of_values(headers, shape)


def _shape_of(headers: Mapping[str, Any]) -> _Shape | Complaint:
    """Check the kinds of headers, which is done once for those that have the same."""
    if not all(isinstance(name, str) for name in headers):
        return Complaint("invalid", "the name of a header is no text", forged=True)
    length = len("".join(headers))
    if length > LONGEST_HEADERS:
        text = f"the names of its headers have {length:,} characters"
        return Complaint("size", f"{text}, and all of them may have {LONGEST_HEADERS:,}")
    for name, value in headers.items():
        if name in _OF_A_REQUEST or (name in _FOLLOWING and value is not None):
            return Complaint("invalid", f"it has a header {name[:100]!r}", forged=True)
        expected = _KINDS.get(name)
        if expected is not None and not isinstance(value, expected):
            wanted = " or ".join(kind.__name__.replace("NoneType", "nothing") for kind in expected)
            text = f"its header {name!r} is {type(value).__name__}, not {wanted}"
            return Complaint("invalid", text, forged=True)
    items = headers.items()
    return _Shape(
        length=length,
        texts=tuple(name for name, value in items if isinstance(value, str)),
        holders=tuple(
            name
            for name, value in items
            if isinstance(value, (list, tuple, Mapping, bytes)) and name != "timelimit"
        ),
        names=tuple(name for name in _NAMES if headers.get(name) is not None),
        closely=any(headers.get(name) is not None for name in (*_LISTS, *_MOMENTS)),
    )


def _keep(key: tuple[Any, ...], shape: _Shape) -> None:
    """Remember a shape for the next message that has it, unless it takes much room."""
    if shape.length > _LONGEST_SHAPE:
        return
    if len(_shapes) >= _MANY_SHAPES:
        _shapes.clear()  # those of most messages are back at once
    _shapes[key] = shape


def _of_names(headers: Any, shape: _Shape) -> Complaint | None:
    """What ends in columns of the records."""
    if not headers.get("id", "none"):
        return Complaint("invalid", "its id is empty")
    values = [headers[name] for name in shape.names]
    together = "".join(values)
    if len(together) <= _LONGEST_NAME and together.isprintable():
        return None
    if all(map(_is_name, values)):
        return None
    return Complaint("invalid", "its id, its name or another's id is too long, or no text")


def _of_values(headers: Any, shape: _Shape) -> Complaint | None:
    """What Celery does arithmetic with, or looks things up by."""
    limits = headers.get("timelimit")
    if limits and limits != _NO_LIMITS and not _is_pair(limits):
        return Complaint("invalid", "its header 'timelimit' is no pair of numbers")
    retries = headers.get("retries")
    if retries and not 0 <= retries < _TOO_MANY:
        return Complaint("invalid", "its header 'retries' is no number of retries")
    return _of_others(headers) if shape.closely else None


def _is_pair(limits: Any) -> bool:
    return len(limits) == 2 and all(isinstance(limit, _NUMBER) for limit in limits)


def _of_others(headers: Any) -> Complaint | None:
    """What most messages have none of."""
    for name in _LISTS:
        texts = headers.get(name)
        if texts and not all(isinstance(item, str) for item in texts):
            return Complaint("invalid", f"its header {name!r} is no list of texts")
    for name in _MOMENTS:
        moment = headers.get(name)
        if moment is not None and not _is_moment(moment):
            return Complaint("invalid", f"its header {name!r} is no date")
    return None


def _weight(value: Any) -> int:
    """About how many characters a header is, which may hold others; too many for one too deep."""
    weight = 0
    level = [value]
    for _ in range(_DEEPEST_HEADER):
        below: list[Any] = []
        for item in level:
            if isinstance(item, Mapping):
                below += (*item.keys(), *item.values())
            elif isinstance(item, (list, tuple)):
                below += item
            weight += len(item) if isinstance(item, (str, bytes)) else 1
        level = below
        if not level or weight > LONGEST_HEADERS:
            return weight
    return LONGEST_HEADERS + 1


def _is_name(value: str) -> bool:
    """Whether every database takes it."""
    if len(value) > _LONGEST_NAME or "\0" in value:
        return False
    return value.isprintable() or not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_moment(text: str) -> bool:
    try:
        moment = maybe_iso8601(text)
    except (ValueError, OverflowError):
        return False
    # Celery moves it to another time zone, which has no room at the ends of the calendar.
    return moment is not None and 1970 <= moment.year < 9999


def _of_signature(app: FlaskCelery, message: Any) -> Complaint | None:
    keys = app.policy.signing_keys
    if not keys:
        return None
    content = (message.content_type, message.content_encoding)
    reply_to = (message.properties or {}).get("reply_to")
    fault = signing.Signed(message.headers, content, message.body, reply_to).fault(keys)
    return Complaint("signature", fault, forged=True) if fault else None


def is_unsigned(app: FlaskCelery, message: Any) -> bool:
    """Whether messages are signed, and this one is not, or not as it should be.

    For those that something else is wrong with, which is found before anybody looks for that.
    """
    try:
        return _of_signature(app, message) is not None
    except Exception:  # noqa: BLE001 - it is no message that anybody could have signed
        return True


def _of_body(message: Any) -> Complaint | None:
    try:
        body = message.payload
    except Exception as error:  # noqa: BLE001 - whatever it is, it cannot be read
        return Complaint("undecodable", f"its body cannot be read: {type(error).__name__}")
    if isinstance(body, dict) and ("task" not in message.headers or "args" in body):
        return _of_first_protocol(body)  # as Celery decides it
    if not isinstance(body, (list, tuple)) or len(body) != 3 or "task" not in message.headers:
        return Complaint("unknown_message", "it is no message of Celery's: its body is no task's")
    args, kwargs, embedded = body
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, dict):
        return Complaint("invalid", "its arguments are no list and mapping", forged=True)
    if embedded is not None and not isinstance(embedded, dict):
        return Complaint("invalid", "what comes with its arguments is no mapping", forged=True)
    return _of_following(embedded) if embedded else None


def _of_following(embedded: dict[str, Any]) -> Complaint | None:
    """What a worker sends when the task has ended, or failed."""
    for name in _FOLLOWING:
        value = embedded.get(name)
        following = value if name != "chord" else [value]
        if value and not (isinstance(following, (list, tuple)) and all(map(_is_task, following))):
            return Complaint("invalid", f"its {name} are no tasks", forged=True)
    return None


def _is_task(value: Any) -> bool:
    """Whether it is a signature, as far as Celery relies on it."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("task"), str)
        and isinstance(value.get("args"), (list, tuple))
        and isinstance(value.get("kwargs"), dict)
        and isinstance(value.get("options"), dict)
    )


def _of_first_protocol(body: dict[str, Any]) -> Complaint | None:
    """A task as Celery 3 sent it, with everything in its body."""
    if not all(isinstance(body.get(key), str) and body[key] for key in ("task", "id")):
        return Complaint("unknown_message", "it is no message of Celery's: it names no task")
    args, kwargs = body.get("args") or [], body.get("kwargs") or {}
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, dict):
        return Complaint("invalid", "its arguments are no list and mapping")
    if not _OF_A_REQUEST.isdisjoint(body):
        return Complaint("invalid", "it says of itself what its run does", forged=True)
    return _of_following(body) or _of_headers(
        {name: value for name, value in body.items() if name in _KINDS}
    )


def _quoted(value: object) -> str:
    return repr(value)[:100]
