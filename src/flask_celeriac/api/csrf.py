"""Changes are made on behalf of a browser's session only if its own site asked for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Request

SAFE = ("GET", "HEAD", "OPTIONS")
#: What a browser says of a request from a page of this site, or from its address bar.
_OURS = ("same-origin", "none")
#: Credentials that a browser, once it has been told them, sends along by itself.
_BY_ITSELF = ("basic", "digest", "negotiate", "ntlm")


def is_forged(request: Request) -> bool:
    """Whether a browser may have been made to send this by another site.

    A request with credentials that no browser adds by itself, such as a token, is on behalf of
    nobody's session. One with none at all may be let in for the address it comes from, or by a
    proxy, which is the browser's, too: it has to be one that a browser sends to another site only
    where that agrees before (a "preflight", https://fetch.spec.whatwg.org/#http-cors-protocol).
    """
    if request.method in SAFE:
        return False
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site in _OURS or origin == f"{request.scheme}://{request.host}":
        return False
    scheme = request.headers.get("Authorization", "").partition(" ")[0].lower()
    is_browser = site is not None or origin is not None  # programs say neither
    if scheme:
        return is_browser and scheme in _BY_ITSELF
    is_simple = request.method == "POST" and not request.is_json
    return "Cookie" in request.headers or (is_browser and is_simple)
