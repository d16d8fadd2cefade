"""The tables."""

from __future__ import annotations

from flask import Flask
from sqlalchemy import BigInteger, ForeignKey, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.schema import CreateTable

from main_app.extensions import Base, db

JOBS = ("sum", "mul")
PENDING, DOING, DONE = "pending", "doing", "done"


class Request(Base):
    """What a user asked for, under a number (`rid`) that the user chose."""

    __tablename__ = "request"

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int] = mapped_column(unique=True)
    task_id: Mapped[str] = mapped_column(String(36))
    rows: Mapped[list[Numbers]] = relationship(order_by="Numbers.id")


class Numbers(Base):
    """One number of a request and what is to be done with it."""

    __tablename__ = "numbers"

    id: Mapped[int] = mapped_column(primary_key=True)
    request_id: Mapped[int] = mapped_column(ForeignKey(Request.request_id))
    numbers: Mapped[int]
    job_to_do: Mapped[str] = mapped_column("jobToDo", String(80))
    result_numbers: Mapped[int | None]
    state: Mapped[str] = mapped_column(String(10), default=PENDING)
    # Which processing has the number, and since which second of the Unix clock.
    claim: Mapped[str | None] = mapped_column(String(36))
    claimed_at: Mapped[int | None] = mapped_column(BigInteger)


def create_tables(app: Flask) -> None:
    """Create the tables that are missing; web server and worker may do it at the same time."""
    with app.app_context():
        with db.engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # Where two IF NOT EXISTS at once are an error, one has to wait for the other.
                connection.execute(text("SELECT pg_advisory_xact_lock(5000)"))
            for table in Base.metadata.sorted_tables:
                connection.execute(CreateTable(table, if_not_exists=True))
        # No connection may be shared with the processes that a worker forks.
        db.engine.dispose()
