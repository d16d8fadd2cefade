"""The tasks: four that a request starts, and two that beat sends by the clock."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, OperationalError

from flask_celeriac import Task
from main_app.extensions import celeriac, db
from main_app.models import work
from main_app.models.models import Numbers, Request

from .processing import run_processing


class DuplicateRequestError(Exception):
    """Another request has this `rid`."""


class UnknownRequestError(Exception):
    """There is no request with this `rid`."""


class DatabaseTask(Task[..., Any]):
    """A task that tries again when the database is locked, or away for a moment."""

    autoretry_for = (OperationalError,)
    retry_backoff = True
    max_retries = 5


@celeriac.task
def echo_data(data: str) -> dict[str, Any]:
    return {"data": data, "length": len(data)}


@celeriac.task(bind=True, base=DatabaseTask, throws=(DuplicateRequestError,))
def handle_number_requests(
    self: Task[..., Any], request_id: int, number_list: list[int], jobtodo_list: list[str]
) -> str:
    rows = [
        Numbers(numbers=number, job_to_do=job)
        for number, job in zip(number_list, jobtodo_list, strict=True)
    ]
    task_id = self.request.id
    db.session.add(Request(request_id=request_id, task_id=task_id, rows=rows))
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        stored_by = db.session.scalar(select(Request.task_id).filter_by(request_id=request_id))
        # This very task, when its worker was killed after the commit.
        if stored_by != task_id:
            raise DuplicateRequestError(
                f"There is a request with rid {request_id} already: choose another rid."
            ) from None
    return "OK"


@celeriac.task(base=DatabaseTask, throws=(UnknownRequestError,))
def look_up_number_request(request_id: int) -> dict[str, Any]:
    found = db.session.scalar(select(Request).filter_by(request_id=request_id))
    if found is None:
        raise UnknownRequestError(f"There is no request with rid {request_id}: POST it first.")
    return {
        "rid": request_id,
        "numbers": [row.numbers for row in found.rows],
        "jobtodo": [row.job_to_do for row in found.rows],
        "state": [row.state for row in found.rows],
        "result": [row.result_numbers for row in found.rows],
    }


@celeriac.task(base=DatabaseTask)
def update_number_requests(
    numbers_id: list[int], numbers: list[int], jobtodo_new: list[str], result: list[int]
) -> dict[str, int]:
    columns = zip(numbers_id, numbers, jobtodo_new, result, strict=True)
    updated = work.finish(
        [
            {
                "of_id": row,
                "of_number": number,
                "of_job": job.removesuffix("_Done"),
                "result": value,
            }
            for row, number, job, value in columns
        ]
    )
    return {"updated": updated, "ignored": len(numbers_id) - updated}


@celeriac.task
def sum_task() -> str:
    return run_processing("sum")


@celeriac.task
def mul_task() -> str:
    return run_processing("mul")
