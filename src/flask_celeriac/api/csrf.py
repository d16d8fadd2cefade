"""Changes are made on behalf of a browser's session only if its own site asked for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Request

SAFE = ("GET", "HEAD", "OPTIONS")
#: What a browser says of a request from a page of this site, or from its address bar.
_OURS = ("same-origin", "none")


def is_forged(request: Request) -> bool:
    """Whether a browser may have been made to send this by another site.

    A request without cookies, or with an ``Authorization`` header, which no other site can make a
    browser send, is not on behalf of a session.
    """
    if request.method in SAFE or "Authorization" in request.headers:
        return False
    if "Cookie" not in request.headers:
        return False
    if request.headers.get("Sec-Fetch-Site") in _OURS:
        return False
    return request.headers.get("Origin") != f"{request.scheme}://{request.host}"
