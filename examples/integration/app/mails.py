"""From the views to the tasks and back: what fails there is told in the words of HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.states import PENDING, SUCCESS
from kombu.exceptions import OperationalError
from werkzeug.exceptions import NotFound, ServiceUnavailable

from flask_celeriac import current_celeriac

from .tasks import NotSent, report_failure, send_email


def enqueue(recipient: str, content: str, *, report: bool = True) -> str:
    """Have a mail sent; return the task's id.

    :param report: whether to tell the operator if the mail is given up
    :raises werkzeug.exceptions.ServiceUnavailable: the broker cannot be reached
    """
    link_error = report_failure.s(recipient) if report else None
    with unavailable():
        return send_email.apply_async(args=[recipient, content], link_error=link_error).id


def outcome(task_id: str) -> dict[str, Any]:
    """What became of a mail.

    :raises werkzeug.exceptions.NotFound: there is certainly no such task
    :raises werkzeug.exceptions.ServiceUnavailable: the result store cannot be reached
    """
    result = send_email.AsyncResult(task_id)
    with unavailable():
        state, value = result.state, result.result
        if state == PENDING and current_celeriac.is_unknown(task_id):
            raise NotFound("There is no such mail: ask for the Location that you were given.")
    found: dict[str, Any] = {"id": task_id, "state": state}
    if state == SUCCESS:
        found["result"] = value
    elif isinstance(value, NotSent):
        found |= {"error": value.reason, "attempts": value.attempts}
    elif isinstance(value, Exception):
        found["error"] = str(value) or type(value).__name__
    return found


@contextmanager
def unavailable() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise ServiceUnavailable(
            "Mails cannot be sent or looked up just now. Try again in a few seconds.",
            retry_after=5,
        ) from error
