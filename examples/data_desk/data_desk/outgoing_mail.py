"""The mails the application writes. Their Message-ID is made of what they are about."""

from __future__ import annotations

import smtplib
from typing import TYPE_CHECKING

from flask import current_app, render_template, url_for
from flask_mail import Message

from .extensions import db, mail
from .models import SUCCESS, Picture, Report

if TYPE_CHECKING:
    from .cleanup import News

PLOT_ID = "plot"


def report_mail(report: Report) -> Message:
    """The report as text, as HTML and with its plot, or why there is none."""
    subject = (
        f"Report: {report.filename}"
        if report.state == SUCCESS
        else f"Could not read {report.filename}"
    )
    message = _message(
        subject, [report.email], f"report-{report.id}", "report", report=report, url=_url(report)
    )
    picture = db.session.get(Picture, (report.id, "light"))
    if picture is not None:
        message.attach(
            "report.png",
            "image/png",
            picture.png,
            disposition="inline",
            headers={"Content-ID": f"<{PLOT_ID}>"},
        )
    return message


def digest_mail(period: int, news: News) -> Message:
    """What happened since the last digest."""
    count = len(news.reports)
    subject = f"Digest: {count} {'report' if count == 1 else 'reports'}"
    recipient = current_app.config["DATA_DESK_RECIPIENT"]
    return _message(subject, [recipient], f"digest-{period}", "digest", news=news)


def send(message: Message) -> None:
    """Hand a mail to the SMTP server.

    :raises OSError: when that did not work; see :func:`is_final`.
    """
    mail.send(message)


def is_final(error: OSError) -> bool:
    """Whether trying again is of no use: the server answered, and its answer was no."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= 500 for code, _ in error.recipients.values())
    return isinstance(error, smtplib.SMTPResponseException) and error.smtp_code >= 500


def _url(report: Report) -> str | None:
    """Where the report is: carried from the request that started it all, through every task."""
    try:
        return url_for("reports.show", report_id=report.id, _external=True)
    except RuntimeError:
        return None  # the task was sent from a shell, which knows no address


def _message(
    subject: str, recipients: list[str], key: str, template: str, **context: object
) -> Message:
    message = Message(subject, recipients=list(recipients))
    message.body = render_template(f"mail/{template}.txt", **context)
    message.html = render_template(f"mail/{template}.html", **context)
    message.msgId = f"<{key}@data-desk.invalid>"
    return message
