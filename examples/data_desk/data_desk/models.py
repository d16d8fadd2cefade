"""What the application remembers."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from flask import Flask
from sqlalchemy import JSON, DateTime, ForeignKey, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.schema import CreateTable

from .extensions import Base, db

# A report's words are Celery's. While a worker reads, the result backend knows more (PROGRESS).
PENDING, SUCCESS, FAILURE = "PENDING", "SUCCESS", "FAILURE"

# A mail is waiting until one task claims it.
WAITING, SENDING, SENT, NOT_SENT = "waiting", "sending", "sent", "not sent"


def now() -> datetime:
    """The time in UTC, without a zone: SQLite keeps none."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


class Report(Base):
    """One uploaded file and what was found in it. Its id is also the id of its task."""

    __tablename__ = "reports"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    filename: Mapped[str] = mapped_column(String(200))
    size: Mapped[int]
    lines: Mapped[int]
    email: Mapped[str] = mapped_column(String(254))
    email_given: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(DateTime, default=now)
    state: Mapped[str] = mapped_column(String(20), default=PENDING)
    runs: Mapped[int] = mapped_column(default=0)
    finished_at: Mapped[datetime | None] = mapped_column(DateTime)
    seconds: Mapped[float | None]
    error: Mapped[str | None] = mapped_column(Text)
    summary: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    plot_alt: Mapped[str | None] = mapped_column(Text)
    upload_kept: Mapped[bool] = mapped_column(default=True)
    mail_state: Mapped[str] = mapped_column(String(20), default=WAITING)
    mail_claim: Mapped[str | None] = mapped_column(String(36))
    mail_error: Mapped[str | None] = mapped_column(Text)

    @property
    def finished(self) -> bool:
        return self.state != PENDING


class Picture(Base):
    """The plot of a report in one look; in the database, it comes and goes with the summary."""

    __tablename__ = "pictures"

    report_id: Mapped[str] = mapped_column(
        ForeignKey(Report.id, ondelete="CASCADE"), primary_key=True
    )
    look: Mapped[str] = mapped_column(String(20), primary_key=True)
    png: Mapped[bytes] = mapped_column(LargeBinary(2**24 - 1))


class Digest(Base):
    """A digest that was mailed; the period is its key, so that no period is told twice."""

    __tablename__ = "digests"

    period: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    claim: Mapped[str] = mapped_column(String(36))
    since: Mapped[datetime | None] = mapped_column(DateTime)
    until: Mapped[datetime] = mapped_column(DateTime)
    removed: Mapped[int]
    sent_at: Mapped[datetime | None] = mapped_column(DateTime)


def create_tables(app: Flask) -> None:
    """Create the tables that do not exist; several processes may do it at the same time."""
    with app.app_context():
        with db.engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                # Readers and the writer do not wait for each other then; the file remembers it.
                connection.execute(text("PRAGMA journal_mode = WAL"))
            for table in Base.metadata.sorted_tables:
                connection.execute(CreateTable(table, if_not_exists=True))
        # No connection may be shared with the processes that a worker forks.
        db.engine.dispose()
