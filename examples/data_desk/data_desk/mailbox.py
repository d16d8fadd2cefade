"""Read the mails that the local catcher keeps."""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.message import EmailMessage
from pathlib import Path

from flask import current_app

NAME = re.compile(r"[0-9a-f]{24}")


@dataclass(frozen=True)
class Part:
    """An attached or inline file."""

    name: str
    content_type: str
    content: bytes
    content_id: str


@dataclass(frozen=True)
class Mail:
    """A mail as it came."""

    id: str
    received_at: datetime
    subject: str
    sender: str
    recipients: str
    message_id: str
    text: str = ""
    html: str = ""
    parts: list[Part] = field(default_factory=list)


def list_mails() -> list[Mail]:
    """All mails, newest first."""
    folder = Path(current_app.instance_path) / "mails"
    mails = [mail for path in folder.glob("*.eml") if (mail := _read(path))]
    return sorted(mails, key=lambda mail: (mail.received_at, mail.id), reverse=True)


def find_mail(mail_id: str) -> Mail | None:
    """One mail, or nothing if there is no such mail."""
    if not NAME.fullmatch(mail_id):
        return None
    return _read(Path(current_app.instance_path) / "mails" / f"{mail_id}.eml")


def _read(path: Path) -> Mail | None:
    try:
        content, status = path.read_bytes(), path.stat()
    except FileNotFoundError:
        return None
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    mail = Mail(
        id=path.stem,
        received_at=datetime.fromtimestamp(status.st_mtime, timezone.utc).replace(tzinfo=None),
        subject=str(message["Subject"] or "(no subject)"),
        sender=str(message["From"] or ""),
        recipients=str(message["To"] or ""),
        message_id=str(message["Message-ID"] or ""),
        text=_body(message, "plain"),
        html=_body(message, "html"),
    )
    for part in message.walk():
        if part.get_content_maintype() in ("multipart", "text"):
            continue
        mail.parts.append(
            Part(
                name=part.get_filename() or "attachment",
                content_type=part.get_content_type(),
                content=part.get_payload(decode=True) or b"",  # type: ignore[arg-type]
                content_id=str(part["Content-ID"] or "").strip("<>"),
            )
        )
    return mail


def _body(message: EmailMessage, subtype: str) -> str:
    for part in message.walk():
        if part.get_content_type() == f"text/{subtype}":
            return str(part.get_content())
    return ""
