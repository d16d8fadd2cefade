"""Hide what must not be printed: passwords in URLs, values of keys that name a secret."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, TypeGuard, cast

HIDDEN = "**"

# "routing_key", "security_key" (a path) and "global_keyprefix" are not secrets: "key" alone is
# no reason to hide a value.
_SECRET_WORDS = (
    r"passw(?:or)?d|passphrase|pwd|secret|token|credential|authorization|signature"
    r"|(?:api|access|account|auth|encryption|fernet|master|private|shared|signing)_?key"
)
_SECRET_KEY = re.compile(rf"(?:{_SECRET_WORDS})|(?:^|[_\-.])(?:pass|sig)$", re.IGNORECASE)
_SECRET_PAIR = re.compile(
    r"(?<![\w\-])(?=[\w\-]+=)"  # else each place in a long word would be looked at again and again
    rf"((?:[\w\-]*(?:{_SECRET_WORDS})[\w\-]*|pass|sig)=)[^&;\s]+",
    re.IGNORECASE,
)
_BLANK = re.compile(r"[\s\"'<>]")


def mask(value: Any, key: str = "") -> Any:
    """A value fit to be printed.

    Passwords in URLs (also several in one string, in lists, in nested dicts and in query
    strings) and values of keys that name a secret are replaced by ``**``. Everything that is no
    plain data is returned as it is.

    :param key: the key under which the value stands.

    .. versionadded:: 0.1
    """
    if key and _SECRET_KEY.search(key):
        harmless = value is None or isinstance(value, bool) or value in ("", b"", ())
        return value if harmless else HIDDEN
    if isinstance(value, str):
        return _mask_text(value)
    if isinstance(value, bytes) and b"://" in value:
        return _mask_text(value.decode("utf-8", "replace")).encode()
    if is_mapping(value):
        return {k: mask(v, k if isinstance(k, str) else "") for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [mask(item) for item in cast("Collection[Any]", value)]
        if isinstance(value, tuple):
            return tuple(items)
        return items if isinstance(value, list) else set(items)
    return value


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Whether a value is a mapping, in a form that type checkers follow."""
    return isinstance(value, Mapping)


def is_dict(value: object) -> TypeGuard[dict[Any, Any]]:
    """The same for a plain dict."""
    return isinstance(value, dict)


def _mask_text(text: str) -> str:
    if "://" in text:
        text = _mask_urls(text)
    return _SECRET_PAIR.sub(rf"\g<1>{HIDDEN}", text) if "=" in text else text


def _mask_urls(text: str) -> str:
    starts = [match.end() for match in re.finditer("://", text)]
    pieces = [text[: starts[0]]]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        blank = _BLANK.search(text, start, end)
        stop = blank.start() if blank else end
        pieces.append(_mask_userinfo(text[start:stop]) + text[stop:end])
    return "".join(pieces)


def _mask_userinfo(rest: str) -> str:
    """Mask in what follows ``scheme://``; where it is ambiguous, rather too much than too little.

    A password may hold an unquoted ``/``, ``?``, ``#`` or ``@``, so the user information ends at
    the last ``@`` before the query string.
    """
    first = rest.find("@")
    if first < 0:
        return rest
    query = rest.find("?", first)
    last = rest.rfind("@", 0, query if query >= 0 else len(rest))
    user, colon, _ = rest[:last].partition(":")
    if not colon or "/" in user:
        return rest
    return f"{user}:{HIDDEN}{rest[last:]}"
