"""Pages for browsers, JSON for programs that ask for it, and errors in either."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, current_app, jsonify, make_response, render_template, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from .formats import size

DRAINED_BYTES = 4 * 1024**3


def wants_json() -> bool:
    """Whether the client likes JSON better than a page; one that takes anything gets the page."""
    best = request.accept_mimetypes.best_match(
        ["text/html", "application/json", "application/problem+json"], default="text/html"
    )
    return best != "text/html"


def problem(status: int, detail: str) -> Response:
    """An error a client can read (RFC 9457), or a page that says it to a person."""
    title = HTTPStatus(status).phrase
    if wants_json():
        response = jsonify(
            type="about:blank", title=title, status=status, detail=detail, error=detail
        )
        response.mimetype = "application/problem+json"
    else:
        response = make_response(render_template("error.html", title=title, detail=detail))
    response.status_code = status
    return response


def init_app(app: Flask) -> None:
    """Answer every error in the client's language, and say what browsers may load."""
    app.register_error_handler(HTTPException, _on_error)
    app.register_error_handler(RequestEntityTooLarge, _on_too_large)
    app.after_request(_protect)


def _on_error(error: HTTPException) -> Response:
    if error.code is None or error.code < 400:
        return error.get_response()  # type: ignore[return-value]
    detail = error.description or ""
    if error.code == 500:
        detail = "Something broke on our side. It was written to the log."
    return problem(error.code, detail)


def _on_too_large(error: RequestEntityTooLarge) -> Response:
    # A client that is still sending would see a broken connection and never our answer.
    left = min(request.content_length or 0, DRAINED_BYTES)
    stream = request.environ["wsgi.input"]
    try:
        while left > 0 and (chunk := stream.read(min(left, 1024 * 1024))):
            left -= len(chunk)
    except OSError:
        pass  # the client is gone
    limit = size(current_app.config["MAX_CONTENT_LENGTH"] or 0)
    return problem(413, f"That is more than this desk takes: the limit is {limit}.")


def _protect(response: Response) -> Response:
    response.headers.setdefault(
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'",
    )
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response
