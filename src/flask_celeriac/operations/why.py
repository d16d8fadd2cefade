"""Why a task is still waiting."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import limits, states
from ..broker import membership
from ..broker import task_queries as queue_queries
from ..records import task_queries
from ..records.task_record import TaskRecord, iso
from . import outbox
from .listing import COUNT_CAP
from .sources import Sources, sources_of
from .tasks import find_after_reaping, what_holds_back
from .workers import Worker, list_workers

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery


#: Seconds after which a task that nothing keeps, on a broker that cannot be asked, is odd.
OLD = 60.0


@dataclass(frozen=True)
class Reason:
    """One reason why a task has not been begun.

    :param code: one word for programs: ``ended``, ``running``, ``eta``, ``retrying``, ``paused``,
        ``outbox``, ``no_worker``, ``busy``, ``unknown_name``, ``limit``, ``rate_limit``,
        ``prefetched``, ``ahead``, ``next``
    :param text: a sentence for people, with the remedy where there is one
    """

    code: str
    text: str


def why(app: FlaskCelery, task_id: str) -> list[Reason]:
    """Why a task is where it is, the strongest reason first.

    :raises UnknownTaskError: there is no such task
    :raises RecordsDisabledError: nothing is recorded
    """
    task = find_after_reaping(app, task_id)
    if task.ended:
        return [Reason("ended", f"It does not wait: it {states.in_words(task.state)}.")]
    if task.state == states.RUNNING:
        return [_taken(app, task)]
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
    workers = paused or _workers(sources, task, list_workers(app))
    unknown = any(reason.code == "unknown_name" for reason in workers)
    reasons = [*workers, *reasons] if unknown else [*reasons, *workers]
    reasons += [reason for reason in [_limited(app, task)] if reason is not None]
    return reasons + _others(sources, task, alone=not reasons)


def _taken(app: FlaskCelery, task: TaskRecord) -> Reason:
    """What a worker does with a task that it has."""
    held = what_holds_back(app, task)
    if held is None:
        return Reason("running", f"It does not wait: {task.worker or 'a worker'} runs it.")
    taken = f"{task.worker or 'A worker'} has taken it, and has not begun it"
    if held == "rate_limit":
        text = f"{taken}: a rate limit that it was told while it runs does not let it (rate_limit)."
        return _limited(app, task) or Reason(held, text)
    return Reason(
        "prefetched",
        f"{taken}: it takes more tasks than it runs at a time, and others cannot take them;"
        " with worker_prefetch_multiplier = 1 it would not.",
    )


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


def _workers(sources: Sources, task: TaskRecord, workers: list[Worker]) -> list[Reason]:
    consuming = [worker for worker in workers if task.queue in worker.queues]
    if not consuming and _is_consumed(sources, task):
        return [
            Reason(
                "busy",
                f"A worker consumes the queue {task.queue!r}, but does not answer: it is busy,"
                " as one that runs tasks in its own process (--pool solo) is until a task ends.",
            )
        ]
    if not workers:
        return [Reason("no_worker", "No worker is running: start one with `flask celery worker`.")]
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


def _is_consumed(sources: Sources, task: TaskRecord) -> bool:
    """Whether the embedded file knows a living process that consumes the queue of a task."""
    return (
        sources.store is not None
        and task.queue is not None
        and membership.consumed(sources.store, task.queue)
    )


def _limited(app: FlaskCelery, task: TaskRecord) -> Reason | None:
    known = app.tasks.get(task.name) if task.name else None
    limit = getattr(known, "rate_limit", None) or app.conf.task_default_rate_limit
    if not limit:
        return None
    return Reason("rate_limit", f"Each worker begins {limit} of these tasks at most (rate_limit).")


def _others(sources: Sources, task: TaskRecord, *, alone: bool) -> list[Reason]:
    """How many tasks come before it, where the broker is ours."""
    if sources.queue is None or task.state != states.QUEUED:
        return [] if not alone else [_OLD if time.time() - task.created > OLD else _NEXT]
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
_OLD = Reason(
    "next",
    "Nothing that is known here keeps it. If its queue is empty, its message is gone: a worker may"
    " have refused it, as one that is not signed (`flask celery list --state dead`).",
)
