"""JSON as kombu writes and reads it, in a third of the time.

kombu makes an encoder for each value, and looks at each mapping that it reads for what plain JSON
has no word for.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

from kombu import serialization
from kombu.utils import json as kombu_json

#: kombu's stubs know only a part of it.
kombu_serialization: Any = serialization
#: What is known of each format.
registry = kombu_serialization.registry
#: How kombu's JSON marks what plain JSON has no word for.
KOMBU_MARK = '"__type__"'
CONTENT_TYPE = "application/json"
#: kombu's own, unless somebody has registered another ``json``.
_OF_KOMBU = (kombu_json.dumps, kombu_json.loads)
_encode = kombu_json.JSONEncoder().encode
#: Reads JSON of which :func:`is_plain` says that it is.
decode = json.JSONDecoder().decode


def serialize(value: Any, serializer: str) -> tuple[str, str, str | bytes]:
    """A value as :func:`kombu.serialization.dumps` gives it: its content type, encoding and text.

    :raises kombu.exceptions.EncodeError: it cannot be serialized
    """
    if serializer == "json":
        codec = registry._encoders.get("json")
        if codec is not None and codec[2] is _OF_KOMBU[0]:
            with contextlib.suppress(Exception):  # of which kombu tells in its own words
                return codec[0], codec[1], _encode(value)
    found: tuple[str, str, str | bytes] = serialization.dumps(value, serializer=serializer)
    return found


def is_plain(text: object) -> bool:
    """Whether nobody but the standard library has a say in how a JSON text is read."""
    return (
        type(text) is str
        and KOMBU_MARK not in text
        and registry._decoders.get(CONTENT_TYPE) is _OF_KOMBU[1]
    )
