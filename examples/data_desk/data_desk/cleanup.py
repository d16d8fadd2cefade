"""Delete what is old, and say what happened since the last digest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from flask import current_app
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError

from . import uploads
from .extensions import db
from .models import PENDING, Digest, Picture, Report, now

FORGOTTEN_AFTER = timedelta(hours=1)


@dataclass(frozen=True)
class News:
    """What a digest tells."""

    reports: Sequence[Report]
    removed_files: int


def clean_up() -> int:
    """Delete old uploads, then old reports; return how many files went."""
    keep_uploads = timedelta(seconds=current_app.config["DATA_DESK_KEEP_UPLOADS_SECONDS"])
    keep_reports = timedelta(seconds=current_app.config["DATA_DESK_KEEP_REPORTS_SECONDS"])
    old = select(Report).where(
        Report.upload_kept, Report.state != PENDING, Report.created_at <= now() - keep_uploads
    )
    removed = 0
    for report in db.session.scalars(old):
        uploads.remove(report.id)
        report.upload_kept = False
        removed += 1
    removed += _remove_strays(keep_uploads)
    past = select(Report.id).where(
        ~Report.upload_kept, Report.state != PENDING, Report.created_at <= now() - keep_reports
    )
    ids = db.session.scalars(past).all()
    db.session.execute(delete(Picture).where(Picture.report_id.in_(ids)))
    db.session.execute(delete(Report).where(Report.id.in_(ids)))
    db.session.commit()
    return removed


def _remove_strays(age: timedelta) -> int:
    """Files whose report was never stored: the web server was killed during the upload, say."""
    removed = 0
    before = time.time() - max(age.total_seconds(), 3600)
    for path in uploads.folder().glob("*.csv"):
        if path.stat().st_mtime < before and db.session.get(Report, path.stem) is None:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def forgotten() -> Sequence[str]:
    """Reports whose task was never sent: the web server died between storing and sending."""
    waiting = select(Report.id).where(
        Report.state == PENDING, Report.runs == 0, Report.created_at <= now() - FORGOTTEN_AFTER
    )
    return db.session.scalars(waiting).all()


def collect_news(period: int, claim: str, removed: int) -> tuple[int, News] | None:
    """Claim the digest of a period for a task; None when it is another's or has nothing to tell.

    :param claim: the task's id. A run after a crash has the same, and finds the digest it claimed.
    """
    digest = db.session.scalar(select(Digest).where(Digest.claim == claim))
    if digest is None:
        digest = _claim(period, claim, removed)
    if digest is None or digest.sent_at is not None:
        return None
    return digest.period, News(_finished(digest.since, digest.until), digest.removed)


def _claim(period: int, claim: str, removed: int) -> Digest | None:
    since = db.session.scalar(select(func.max(Digest.until)))
    until = now()
    if not _finished(since, until) and not removed:
        return None
    digest = Digest(period=period, claim=claim, since=since, until=until, removed=removed)
    db.session.add(digest)
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        return None
    return digest


def _finished(since: object, until: object) -> Sequence[Report]:
    wanted = select(Report).where(Report.finished_at <= until).order_by(Report.finished_at)
    if since is not None:
        wanted = wanted.where(Report.finished_at > since)
    return db.session.scalars(wanted).all()
