"""The background work: every task sends one mail."""

from __future__ import annotations

import smtplib
import time
from collections.abc import Sequence
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from flask import current_app
from flask_mail import Message

from .extensions import celery, mail


class NotSent(Exception):
    """A mail could not be sent.

    :param reason: what the mail server said
    :param attempts: when it was tried, in seconds since the epoch
    """

    def __init__(self, reason: str, attempts: list[float]) -> None:
        super().__init__(reason, attempts)
        self.reason = reason
        self.attempts = attempts


# An attempt decides for itself whether there is another one, and hands on what it knows.
@celery.task(bind=True, max_retries=4, soft_time_limit=30, throws=(NotSent,))
def send_email(
    self: Any, recipient: str, content: str, attempts: Sequence[float] = ()
) -> dict[str, Any]:
    """Send a mail; as long as the mail server cannot take it, wait twice as long each time."""
    attempts = [*attempts, time.time()]
    message = Message("A message for you", recipients=[recipient], body=content)
    # After a crash the task runs again: by its id, the second mail is known as the first one.
    message.msgId = f"<{self.request.id}@integration.example>"
    try:
        mail.send(message)
    except (OSError, SoftTimeLimitExceeded) as error:
        failure = NotSent(str(error), attempts)
        if is_final(error):
            raise failure from error
        wait = current_app.config["RETRY_SECONDS"] * 2**self.request.retries
        raise self.retry(exc=failure, countdown=wait, kwargs={"attempts": attempts}) from error
    return {"recipient": recipient, "attempts": attempts}


# Nothing to decide here, so Celery does it: after 1, 2, 4 ... seconds, without a share of chance,
# which is for many tasks that fail at once.
@celery.task(autoretry_for=(OSError,), retry_backoff=True, retry_jitter=False, max_retries=8)
def report_failure(task_id: str, recipient: str) -> None:
    """Tell the operator that a mail was given up, and why."""
    error = send_email.AsyncResult(task_id).result
    reason = error.reason if isinstance(error, NotSent) else repr(error)
    message = Message("A mail was not sent", recipients=[current_app.config["OPERATOR"]])
    message.body = f"To {recipient}, task {task_id}: {reason}"
    mail.send(message)


def is_final(error: Exception) -> bool:
    """Whether the mail server answered, and its answer was no."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPResponseException) and error.smtp_code >= 500
