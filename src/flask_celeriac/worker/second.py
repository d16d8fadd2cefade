"""Whether a message is the second one of its task, which an outbox may have sent twice."""

from __future__ import annotations

from typing import Any

from .. import brokers, capturing
from ..records.description import AGAIN, CRASHES, CUT_OFF

#: Headers of a message that was here before, or takes the place of one that was.
_CAME = frozenset({AGAIN, CRASHES, CUT_OFF})


def is_second(task: Any, request: Any) -> bool:
    """Whether a message comes for the first time, though its task may run by another one.

    That one is with the broker until its run has ended. Where the broker does not tell of a message
    that it comes again, nobody knows.
    """
    headers = request.headers or {}
    if capturing.HEADER not in headers or not _CAME.isdisjoint(headers):
        return False
    redelivered = (request.delivery_info or {}).get("redelivered")
    return not redelivered and brokers.kind_of(task.app.conf) != "other"
