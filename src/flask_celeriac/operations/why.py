"""Why a task is still waiting."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import limits, states
from ..broker import task_queries as queue_queries
from ..records import task_queries
from ..records.task_record import TaskRecord, iso
from . import outbox
from .listing import COUNT_CAP
from .sources import Sources, sources_of
from .tasks import find, is_held_back
from .workers import Worker, list_workers

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery


@dataclass(frozen=True)
class Reason:
    """One reason why a task has not been begun.

    :param code: one word for programs: ``ended``, ``running``, ``eta``, ``retrying``, ``paused``,
        ``outbox``, ``no_worker``, ``unknown_name``, ``limit``, ``rate_limit``, ``ahead``, ``next``
    :param text: a sentence for people, with the remedy where there is one
    """

    code: str
    text: str


def why(app: FlaskCelery, task_id: str) -> list[Reason]:
    """Why a task is where it is, the strongest reason first.

    :raises UnknownTaskError: there is no such task
    :raises RecordsDisabledError: nothing is recorded
    """
    task = find(app, task_id)
    if task.ended:
        return [Reason("ended", f"It does not wait: it {states.in_words(task.state)}.")]
    if task.state == states.RUNNING:
        runs = Reason("running", f"It does not wait: {task.worker or 'a worker'} runs it.")
        return _limited(app, task) if is_held_back(app, task) else [runs]
    sources = sources_of(app)
    if kept := _in_outbox(app, task):
        return kept  # whatever a worker would say of it: the broker may be out of reach
    reasons = _put_off(app, sources, task)
    if reasons:
        pass  # and its time is only when it asks again
    elif task.state == states.SCHEDULED:
        reasons.append(Reason("eta", f"Its time has not come: it may run from {iso(task.eta)} on."))
    elif task.state == states.RETRYING:
        reasons.append(
            Reason("retrying", f"An attempt failed; the next may begin at {iso(task.eta)}.")
        )
    paused = _paused(sources, task)
    # Workers do not consume a paused queue: that is no reason of its own.
    workers = paused or _workers(task, list_workers(app))
    unknown = any(reason.code == "unknown_name" for reason in workers)
    reasons = [*workers, *reasons] if unknown else [*reasons, *workers]
    reasons += _limited(app, task)
    return reasons + _others(sources, task, alone=not reasons)


def _put_off(app: FlaskCelery, sources: Sources, task: TaskRecord) -> list[Reason]:
    """The limit over all workers that did not let it begin."""
    known: Any = app.tasks.get(task.name) if task.name else None
    if known is None or not getattr(known, "limited", False):
        return []
    limit: Any = known.concurrency
    key = None if limit is None else app.ledger.in_line(task.id)
    if limit is not None and key is not None:
        text = f"{app.ledger.slots_taken(key)} of {limit.at_once} run"
        return [Reason("limit", f"It waits for a place in its concurrency limit: {text}.")]
    if known.rate is None or task.state not in (states.SCHEDULED, states.RETRYING):
        return []
    if sources.queue is not None:
        with sources.queue.connection() as db:
            message = queue_queries.find_message(db, task.id)
        if message is None or f'"{limits.PERMIT}"' not in message.envelope:
            return []
    until = f"until {iso(task.eta)}"
    return [Reason("limit", f"It waits for its rate limit of {known.rate.limit}, {until}.")]


def _in_outbox(app: FlaskCelery, task: TaskRecord) -> list[Reason]:
    row = None if app.on_commit is None else outbox.find(app, task.id)
    if row is None:
        return []
    waited = max(0, round(time.time() - row.created))
    why = f"the last attempt to send it said: {row.error}" if row.error else (
        "a worker or `flask celery relay` sends it, unless whoever wrote it is about to"
    )  # fmt: skip
    return [Reason("outbox", f"It waits in the outbox, written {waited} s ago: {why}.")]


def _paused(sources: Sources, task: TaskRecord) -> list[Reason]:
    with sources.engine.connect() as connection:
        since = task_queries.paused(connection).get(task.queue or "")
    if since is None:
        return []
    return [
        Reason(
            "paused",
            f"The queue {task.queue!r} has been paused since {iso(since)}: resume it with"
            f" `flask celery queues --resume {task.queue}`.",
        )
    ]


def _workers(task: TaskRecord, workers: list[Worker]) -> list[Reason]:
    if not workers:
        return [Reason("no_worker", "No worker is running: start one with `flask celery worker`.")]
    consuming = [worker for worker in workers if task.queue in worker.queues]
    if not consuming:
        return [
            Reason(
                "no_worker",
                f"No worker consumes the queue {task.queue!r}: start one with"
                f" `flask celery worker --queues {task.queue}`.",
            )
        ]
    if task.name and not any(task.name in worker.tasks for worker in consuming):
        return [
            Reason(
                "unknown_name",
                f"No worker that consumes {task.queue!r} knows a task called {task.name!r}: deploy"
                " the code that declares it there, or correct the name.",
            )
        ]
    return []


def _limited(app: FlaskCelery, task: TaskRecord) -> list[Reason]:
    known = app.tasks.get(task.name) if task.name else None
    limit = getattr(known, "rate_limit", None) or app.conf.task_default_rate_limit
    if not limit:
        return []
    return [
        Reason("rate_limit", f"Each worker begins {limit} of these tasks at most (rate_limit).")
    ]


def _others(sources: Sources, task: TaskRecord, *, alone: bool) -> list[Reason]:
    """How many tasks come before it, where the broker is ours."""
    if sources.queue is None or task.state != states.QUEUED:
        return [] if not alone else [_NEXT]
    with sources.queue.connection() as db:
        message = queue_queries.find_message(db, task.id)
        if message is None:
            return []
        number = queue_queries.ahead_of(db, message, COUNT_CAP)
    if number:
        some = f"{number:,}" + (" or more" if number == COUNT_CAP else "")
        tasks = "1 task is" if number == 1 else f"{some} tasks are"
        return [Reason("ahead", f"{tasks} ahead of it in the queue {task.queue!r}.")]
    return [_NEXT] if alone else []


_NEXT = Reason("next", "Nothing keeps it: it is begun as soon as a worker has room for it.")
