"""Signatures of messages: who can write to the broker cannot make tasks, who has a secret can.

An HMAC-SHA256 over the body and over those headers that say what runs, when and for whom. It is
made at the last moment before a message is sent, and looked at before the body is read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from .records import description

#: The header with the signature.
HEADER = "celeriac_signature"

#: The headers that are signed. What a broker or a worker counts on the way is not among them.
SIGNED = (
    *("task", "id", "root_id", "parent_id", "group", "group_index", "shadow", "eta", "expires"),
    *(
        "retries",
        "timelimit",
        "ignore_result",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
    ),
    *(description.LABELS, description.RETRY_OF, description.REQUEST_ID, description.TRACE_ID),
    *(description.SCHEDULE, "celeriac_url_root"),
)
#: Says what is signed, and how: another version signs something else.
_VERSION = "1"


@dataclass(frozen=True)
class Signed:
    """What is signed of a message.

    :param content: content type and content encoding
    :param reply_to: where the sender waits for the result, if anywhere
    """

    headers: Mapping[str, Any]
    content: tuple[str | None, str | None]
    body: str | bytes
    reply_to: str | None = None

    def sign(self, keys: Sequence[bytes]) -> str:
        """The signature, made with the first key."""
        issued = str(int(time.time()))
        return f"{_VERSION}:{_name(keys[0])}:{issued}:{self._digest(keys[0], issued)}"

    def fault(self, keys: Sequence[bytes]) -> str | None:
        """What is wrong with the signature in the headers, None when it is right."""
        given = self.headers.get(HEADER)
        if given is None:
            return "it is not signed"
        parts = given.split(":") if isinstance(given, str) else []
        if len(parts) != 4 or parts[0] != _VERSION:
            return "its signature is in a form that is not known here"
        _, name, issued, digest = parts
        key = next((key for key in keys if _name(key) == name), None)
        if key is None:
            return "it is signed with a secret that is not among CELERIAC_SIGNING_KEYS"
        if not hmac.compare_digest(
            self._digest(key, issued).encode(), digest.encode("utf-8", "surrogatepass")
        ):
            return "it is not what was signed"
        return None

    def _digest(self, key: bytes, issued: str) -> str:
        headers = self.headers
        said = [(name, headers[name]) for name in SIGNED if headers.get(name) is not None]
        signed = [_VERSION, issued, *self.content, self.reply_to or None, said]
        # As JSON, in which what a transport makes of a tuple or of an order is the same.
        text = json.dumps(signed, sort_keys=True, separators=(",", ":"), default=str)
        body = self.body
        mac = hmac.new(key, text.encode(), hashlib.sha256)
        mac.update(b"\0")
        mac.update(body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body)
        return mac.hexdigest()


@cache
def _name(key: bytes) -> str:
    """How a key is called in a signature, which says nothing of it."""
    return hmac.new(key, b"celeriac key name", hashlib.sha256).hexdigest()[:16]
