"""The first page and the mail box."""

from __future__ import annotations

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    jsonify,
    make_response,
    render_template,
    url_for,
)
from sqlalchemy import select

from . import mailbox
from .extensions import db
from .models import Report
from .negotiation import wants_json
from .reports import SAMPLE, status_of

blueprint = Blueprint("pages", __name__)

RECENT = 12


@blueprint.get("/")
def index() -> str:
    """The form, and what was read lately."""
    newest = select(Report).order_by(Report.created_at.desc()).limit(RECENT)
    reports = [(report, status_of(report)) for report in db.session.scalars(newest)]
    limit = current_app.config["MAX_CONTENT_LENGTH"]
    return render_template("index.html", reports=reports, sample=SAMPLE, limit=limit)


@blueprint.get("/mail")
def mails() -> str | Response:
    """All mails the local catcher keeps."""
    found = mailbox.list_mails()
    if wants_json():
        return jsonify(
            [
                {
                    "id": mail.id,
                    "subject": mail.subject,
                    "from": mail.sender,
                    "to": mail.recipients,
                    "message_id": mail.message_id,
                    "received_at": mail.received_at.isoformat() + "Z",
                    "url": url_for("pages.mail", mail_id=mail.id),
                }
                for mail in found
            ]
        )
    return render_template("mails.html", mails=found, server=_server())


@blueprint.get("/mail/<mail_id>")
def mail(mail_id: str) -> str:
    """One mail."""
    return render_template("mail.html", mail=_find(mail_id))


@blueprint.get("/mail/<mail_id>/html")
def mail_html(mail_id: str) -> Response:
    """The HTML of a mail, with its pictures, for a frame that runs no scripts."""
    mail = _find(mail_id)
    html = mail.html
    for number, part in enumerate(mail.parts):
        if part.content_id:
            source = url_for("pages.mail_part", mail_id=mail_id, number=number)
            html = html.replace(f"cid:{part.content_id}", source)
    response = make_response(html)
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'; "
        "sandbox allow-popups allow-top-navigation-by-user-activation"
    )
    return response


@blueprint.get("/mail/<mail_id>/parts/<int:number>")
def mail_part(mail_id: str, number: int) -> Response:
    """A file of a mail."""
    parts = _find(mail_id).parts
    if number >= len(parts):
        abort(404, "This mail has no such part.")
    response = make_response(parts[number].content)
    safe = (
        parts[number].content_type.startswith("image/") and "svg" not in parts[number].content_type
    )
    response.mimetype = parts[number].content_type if safe else "application/octet-stream"
    return response


def _find(mail_id: str) -> mailbox.Mail:
    mail = mailbox.find_mail(mail_id)
    if mail is None:
        abort(404, "There is no such mail.")
    return mail


def _server() -> str:
    return f"{current_app.config['MAIL_SERVER']}:{current_app.config['MAIL_PORT']}"
