"""How a number gets from pending over doing to done, and is done once.

Each step is one UPDATE that says in its WHERE what it expects, so that of two workers only one
takes a step.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from sqlalchemy import and_, bindparam, or_, select, update

from main_app.extensions import db

from .models import DOING, DONE, PENDING, Numbers


def claim(job: str, lease_seconds: int) -> list[dict[str, int]]:
    """Take all numbers that wait for a job, also those whose processing was not heard of again."""
    now, name = int(time.time()), str(uuid.uuid4())
    abandoned = and_(Numbers.state == DOING, Numbers.claimed_at < now - lease_seconds)
    db.session.execute(
        update(Numbers)
        .where(Numbers.job_to_do == job, or_(Numbers.state == PENDING, abandoned))
        .values(state=DOING, claim=name, claimed_at=now)
        .execution_options(synchronize_session=False)
    )
    db.session.commit()
    rows = db.session.execute(select(Numbers.id, Numbers.numbers).filter_by(claim=name)).all()
    db.session.commit()  # no transaction stays open while the processing works
    return [{"id": row.id, "number": row.numbers} for row in rows]


def finish(results: list[dict[str, Any]]) -> int:
    """Note results; a number that is done stays as it is.

    :param results: dicts of ``of_id``, ``of_number``, ``of_job`` and ``result``
    :return: how many numbers are done now that were not
    """
    if not results:
        return 0
    statement = (
        update(Numbers)
        .where(
            Numbers.id == bindparam("of_id"),
            Numbers.numbers == bindparam("of_number"),
            Numbers.job_to_do == bindparam("of_job"),
            Numbers.state == DOING,
        )
        .values(state=DONE, result_numbers=bindparam("result"))
    )
    # One statement for many rows, which the session's own execute() allows by primary key only.
    done = db.session.connection().execute(statement, results)
    db.session.commit()
    return done.rowcount
