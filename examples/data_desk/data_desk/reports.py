"""Upload a file, follow its report."""

from __future__ import annotations

import re
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from flask import (
    Blueprint,
    Response,
    abort,
    current_app,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from kombu.exceptions import OperationalError
from werkzeug.exceptions import BadRequest, ServiceUnavailable, UnsupportedMediaType
from werkzeug.wrappers import Response as WerkzeugResponse

from flask_celeriac import Access

from . import uploads
from .extensions import db
from .file_kind import looks_like
from .models import FAILURE, SUCCESS, Picture, Report
from .negotiation import wants_json
from .tasks import profile_report

blueprint = Blueprint("reports", __name__, url_prefix="/reports")

SAMPLE = "clock_changes.csv"
EMAIL = re.compile(r"[A-Za-z0-9._%+'/=-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Status:
    """Where a report is, in Celery's words."""

    id: str
    state: str
    progress: dict[str, int]
    result: dict[str, Any] | None
    error: str | None

    @property
    def finished(self) -> bool:
        return self.state in (SUCCESS, FAILURE, "REVOKED")


@blueprint.post("")
def create() -> WerkzeugResponse:
    """Take an upload and start its task."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        abort(403, "This form was sent by another site.")
    email = _email()
    if request.form.get("sample"):
        with sample_path().open("rb") as file:
            report = _start(file, SAMPLE, email)
    else:
        upload = request.files.get("file")
        if upload is None or not upload.filename:
            raise BadRequest("Choose a CSV file first: the form field “file” holds no file.")
        report = _start(cast(BinaryIO, upload.stream), upload.filename, email)
    location = url_for("reports.show", report_id=report.id)
    if not wants_json():
        return redirect(location, 303)
    response = jsonify(asdict(status_of(report)))
    response.status_code = 202
    response.headers["Location"] = location
    return response


@blueprint.get("")
def recent() -> WerkzeugResponse:
    """The first page lists them."""
    return redirect(url_for("pages.index"))


@blueprint.get("/<report_id>")
def show(report_id: str) -> Response:
    """Where a report is, or the report."""
    report = _find(report_id)
    status = status_of(report)
    if wants_json():
        response = jsonify(asdict(status))
    else:
        response = make_response(render_template("report.html", report=report, status=status))
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Accept")
    return response


@blueprint.get("/<report_id>/<look>.png")
def plot(report_id: str, look: str) -> Response:
    """The plot: light or dark, wide or narrow."""
    picture = db.session.get(Picture, (report_id, look))
    if picture is None:
        abort(404, "There is no such plot.")
    response = make_response(picture.png)
    response.mimetype = "image/png"
    response.headers["Cache-Control"] = "private, max-age=86400, immutable"
    return response


def status_of(report: Report) -> Status:
    """The state of a report: its row's once it is finished, else what the worker last said."""
    if not report.finished:
        task = profile_report.AsyncResult(report.id)
        state: str = task.state
        told: Any = task.info
        # The worker stores the outcome before its task ends, maybe just after we read the row.
        db.session.refresh(report)
        if not report.finished:
            progress = told if state == "PROGRESS" and isinstance(told, dict) else {}
            error = f"The task broke off: {told}" if state == FAILURE else None
            return Status(
                report.id,
                state,
                {
                    "current": progress.get("current", 0),
                    "total": progress.get("total", report.lines),
                },
                None,
                error,
            )
    whole = {"current": report.lines, "total": report.lines}
    result = _result(report) if report.state == SUCCESS else None
    return Status(report.id, report.state, whole, result, report.error)


def may_look() -> Access:
    """What the HTTP API allows: everybody here sees every report, and so every task."""
    return Access.READ


def sample_path() -> Path:
    """The data set that comes with the application."""
    return Path(current_app.root_path).parent / "data" / SAMPLE


def _result(report: Report) -> dict[str, Any]:
    plot = url_for("reports.plot", report_id=report.id, look="light") if report.plot_alt else None
    return {
        "filename": report.filename,
        "bytes": report.size,
        **(report.summary or {}),
        "plot": {"url": plot, "alt": report.plot_alt} if plot else None,
        "mail": {"to": report.email, "state": report.mail_state},
    }


def _start(stream: BinaryIO, filename: str, email: str) -> Report:
    report_id = str(uuid.uuid4())
    stored = uploads.store(report_id, stream)
    try:
        if not stored.head.strip():
            raise BadRequest("The file is empty. Upload a CSV with at least a header line.")
        if kind := looks_like(stored.head):
            raise UnsupportedMediaType(
                f"This is not a CSV: it looks like {kind}. Export it as CSV first."
            )
        report = Report(
            id=report_id,
            filename=uploads.display_name(filename),
            size=stored.size,
            lines=stored.lines,
            email=email or current_app.config["DATA_DESK_RECIPIENT"],
            email_given=bool(email),
        )
        db.session.add(report)
        db.session.commit()
    except BaseException:
        uploads.remove(report_id)
        raise
    _send(report)
    return report


def _send(report: Report) -> None:
    try:
        profile_report.apply_async((report.id,), task_id=report.id)
    except OperationalError as error:
        db.session.delete(report)
        db.session.commit()
        uploads.remove(report.id)
        raise ServiceUnavailable("The queue cannot be reached. Try again in a minute.") from error


def _email() -> str:
    """The address of the form, or nothing.

    :raises BadRequest: when it is no address; a newline in it would be a way to write headers.
    """
    email = request.form.get("email", "").strip(" ")
    if email and (len(email) > 254 or not EMAIL.fullmatch(email) or ".." in email):
        raise BadRequest(
            "This does not look like an email address. Leave it empty to use the demo's own."
        )
    return email


def _find(report_id: str) -> Report:
    report = db.session.get(Report, report_id)
    if report is None:
        abort(404, "There is no such report. Old reports are deleted after a month.")
    return report
