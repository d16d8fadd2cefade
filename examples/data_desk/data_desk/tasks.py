"""The background work. After a crash a task runs again, so each step is safe to repeat."""

from __future__ import annotations

import time
from typing import Any, cast

from flask import current_app
from sqlalchemy import CursorResult, and_, or_, update

from . import outgoing_mail, uploads
from .cleanup import clean_up, collect_news, forgotten
from .config import CLEANUP_SECONDS
from .csv_file import UnreadableFile
from .extensions import celeriac, db
from .models import (
    FAILURE,
    NOT_SENT,
    PENDING,
    SENDING,
    SENT,
    SUCCESS,
    WAITING,
    Digest,
    Picture,
    Report,
    now,
)
from .profile import profile_file

# These are the defaults on the embedded broker; named here, they hold on any other too.
CRASH_SAFE = {"acks_late": True, "reject_on_worker_lost": True}
SECONDS_BETWEEN_PROGRESS = 0.3


@celeriac.task(bind=True, throws=(UnreadableFile,), **CRASH_SAFE)
def profile_report(self: Any, report_id: str) -> None:
    """Read the upload, store what was found, and have it mailed."""
    report = db.session.get(Report, report_id)
    if report is None:
        return
    if not report.finished:
        _finish(report_id, **_examine(self, report))
        report = db.session.get_one(Report, report_id)
    # A failure is mailed only to somebody who asked for mail.
    if report.mail_state == WAITING and (report.state == SUCCESS or report.email_given):
        mail_report.delay(report_id)
    if report.state == FAILURE:
        raise UnreadableFile(report.error)


@celeriac.task(bind=True, max_retries=8, **CRASH_SAFE)
def mail_report(self: Any, report_id: str) -> None:
    """Mail a finished report: once, unless a crash hides whether the server took it.

    The row is claimed for this task, so that of two tasks for one report only one mails. A run
    after a crash has the same task id and therefore holds the claim: it sends again, with the same
    Message-ID.
    """
    claim = update(Report).where(
        Report.id == report_id,
        or_(
            Report.mail_state == WAITING,
            and_(Report.mail_state == SENDING, Report.mail_claim == self.request.id),
        ),
    )
    if not _change(claim.values(mail_state=SENDING, mail_claim=self.request.id)):
        return
    message = outgoing_mail.report_mail(db.session.get_one(Report, report_id))
    db.session.rollback()  # no open transaction while the mail server thinks
    ours = update(Report).where(Report.id == report_id, Report.mail_claim == self.request.id)
    try:
        outgoing_mail.send(message)
    except OSError as error:
        _change(ours.values(mail_error=str(error)[:500]))
        if outgoing_mail.is_final(error) or self.request.retries >= self.max_retries:
            _change(ours.values(mail_state=NOT_SENT))
            raise
        raise self.retry(exc=error, countdown=min(60, 2**self.request.retries)) from error
    _change(ours.values(mail_state=SENT, mail_error=None))


@celeriac.periodic(CLEANUP_SECONDS)
@celeriac.task(bind=True, max_retries=4, **CRASH_SAFE)
def tidy_up(self: Any) -> None:
    """Delete old uploads, mail a digest of what happened since the last one."""
    for report_id in forgotten():
        # A task that only waits in a long queue is sent twice: it is safe to repeat.
        profile_report.apply_async((report_id,), task_id=report_id)
    removed = clean_up()
    found = collect_news(int(time.time() // CLEANUP_SECONDS), self.request.id, removed)
    if found is None:
        return
    period, news = found
    try:
        outgoing_mail.send(outgoing_mail.digest_mail(period, news))
    except OSError as error:
        raise self.retry(exc=error, countdown=2**self.request.retries) from error
    _change(update(Digest).where(Digest.period == period).values(sent_at=now()))


def _examine(task: Any, report: Report) -> dict[str, Any]:
    """Read the file and draw it; return what the report's row should say."""
    report_id = report.id
    report.runs = Report.runs + 1
    db.session.commit()  # reading may take minutes: no transaction stays open meanwhile
    started = time.monotonic()
    try:
        profile = profile_file(
            uploads.path_of(report_id),
            _Progress(task),
            rows_per_second=current_app.config["DATA_DESK_ROWS_PER_SECOND"],
        )
        # matplotlib takes a second to import, and the web server never draws.
        from .plot import draw

        drawing = draw(profile)
    except UnreadableFile as error:
        return {"state": FAILURE, "error": str(error)}
    except FileNotFoundError:
        return {"state": FAILURE, "error": "The uploaded file is no longer there. Upload it again."}
    except Exception as error:
        db.session.rollback()
        _finish(
            report_id,
            state=FAILURE,
            error=f"The file could not be profiled ({type(error).__name__}).",
        )
        raise
    found: dict[str, Any] = {
        "state": SUCCESS,
        "summary": profile.summary(),
        "lines": profile.layout.lines,
    }
    if drawing is not None:
        found |= {"pictures": drawing.pictures, "plot_alt": drawing.alt}
    return found | {"seconds": time.monotonic() - started}


class _Progress:
    """Tells Celery's result backend how far we are, a few times a second at most."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self._told = 0.0

    def __call__(self, current: int, total: int) -> None:
        if current in (0, total) or time.monotonic() - self._told > SECONDS_BETWEEN_PROGRESS:
            self._told = time.monotonic()
            self._task.update_state(state="PROGRESS", meta={"current": current, "total": total})


def _finish(report_id: str, pictures: dict[str, bytes] | None = None, **values: Any) -> None:
    """Write the outcome, unless another run of the same task did: the first one stays."""
    unfinished = update(Report).where(Report.id == report_id, Report.state == PENDING)
    written = unfinished.values(finished_at=now(), **values).returning(Report.id)
    if db.session.scalar(written) is not None:
        for look, png in (pictures or {}).items():
            db.session.add(Picture(report_id=report_id, look=look, png=png))
    db.session.commit()


def _change(statement: Any) -> bool:
    """Carry out an UPDATE and say whether it met a row."""
    changed = cast("CursorResult[Any]", db.session.execute(statement)).rowcount
    db.session.commit()
    return changed == 1
