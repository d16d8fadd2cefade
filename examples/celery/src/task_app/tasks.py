"""What is done in the background. Results are kept only where they are asked for."""

from __future__ import annotations

import email.charset
import smtplib
import time
from typing import Any

from celery import Task, shared_task
from flask_mail import Mail, Message

mail = Mail()

# Flask-Mail sends text as it is, and mail servers refuse lines of more than 998 characters.
email.charset.add_charset("utf-8", email.charset.SHORTEST, email.charset.QP, "utf-8")


@shared_task(ignore_result=False)
def add(x: int, y: int) -> int:
    return x + y


@shared_task
def block() -> None:
    time.sleep(5)


@shared_task(bind=True, ignore_result=False)
def process(self: Task[Any, Any], total: int) -> dict[str, int]:
    for current in range(1, total + 1):
        time.sleep(1)
        self.update_state(state="PROGRESS", meta={"current": current, "total": total})
    return {"current": total, "total": total}


@shared_task(
    ignore_result=False,
    # A mail server that is away may come back; one that says no means it.
    autoretry_for=(OSError,),
    dont_autoretry_for=(smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError),
    max_retries=3,
    retry_backoff=True,  # after 1, 2 and 4 seconds
    retry_jitter=False,
)
def send_email(to: str, subject: str, body: str) -> str:
    mail.send(Message(subject, sender="sender@example.com", recipients=[to], body=body))
    return f"sent to {to}"
