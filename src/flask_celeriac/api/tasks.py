"""Views: looking at tasks, and changing what becomes of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import flask

from .. import operations
from ..records.task_record import as_json, iso
from . import starting
from .answers import Answer
from .context import current_path

if TYPE_CHECKING:
    from .context import Api
    from .schemas import Chosen, Listed, Many, ManyRevoked, Revoking, Waiting


def list_tasks(api: Api, query: Listed) -> Answer:
    """The newest tasks that are chosen, without results and tracebacks."""
    page = operations.list_tasks(
        api.celery, query.as_filter(), cursor=query.cursor, limit=query.limit
    )
    headers = {}
    if page.next is not None:
        again = {**flask.request.args.to_dict(flat=False), "cursor": [page.next]}
        headers["Link"] = f'<{current_path("list_tasks", **again)}>; rel="next"'
    tasks = [as_json(task) for task in api.theirs(page.tasks)]
    body = {"tasks": tasks, "next": page.next, "searched_all": page.searched_all}
    return Answer(body, headers=headers)


def count(api: Api, query: Chosen) -> Answer:
    """How many tasks are chosen."""
    counted = operations.count_allowed(api.celery, query.as_filter(), api.hooks.owns)
    return Answer({"count": counted.number, "capped": counted.capped})


def show(api: Api, task_id: str, query: Waiting) -> Answer:
    """A task, with its result or error when it has ended."""
    task = api.task(task_id)
    if query.wait and not task.ended:
        task = operations.wait(api.celery, task_id, min(query.wait, starting.LONGEST_WAIT))
    else:
        task = operations.with_result(api.celery, task)
    return Answer(as_json(task))


def attempts(api: Api, task_id: str) -> Answer:
    """The attempts that did not end a task."""
    api.task(task_id)
    found = [asdict(attempt) for attempt in operations.attempts(api.celery, task_id)]
    for each in found:
        each["started"], each["finished"] = iso(each["started"]), iso(each["finished"])
    return Answer({"attempts": found})


def why(api: Api, task_id: str) -> Answer:
    """Why a task is where it is."""
    api.task(task_id)
    reasons = [asdict(reason) for reason in operations.why(api.celery, task_id)]
    return Answer({"reasons": reasons})


def revoke(api: Api, task_id: str, body: Revoking) -> Answer:
    """Take a task back."""
    task = api.task(task_id)
    operations.revoke(api.celery, task_id, terminate=body.terminate)
    api.audit("revoke", task_id, terminate=body.terminate)
    task = api.after_change(lambda: operations.show(api.celery, task_id), task)
    return Answer(as_json(task), 202)


def discard(api: Api, task_id: str) -> Answer:
    """Forget an ended task."""
    api.task(task_id)
    operations.discard(api.celery, task_id)
    api.audit("discard", task_id)
    return Answer(status=204)


def retry_many(api: Api, body: Many) -> Answer:
    """Send many ended tasks again."""
    return _many(api, "retry", body)


def revoke_many(api: Api, body: ManyRevoked) -> Answer:
    """Take many tasks back."""
    return _many(api, "revoke", body, terminate=body.terminate)


def discard_many(api: Api, body: Many) -> Answer:
    """Forget many ended tasks."""
    return _many(api, "discard", body)


def _many(api: Api, verb: str, body: Many, **options: Any) -> Answer:
    changed: dict[str, dict[str, Any]] = {}

    def note(task_id: str, new: str | None) -> None:
        changed[task_id] = {"many": True, **options, **({} if new is None else {"new": new})}

    try:
        outcome = operations.apply_to_many(
            api.celery,
            verb,
            body.filter.as_filter(),
            expected=body.expected,
            allowed=api.hooks.owns,
            tell=note,
            **options,
        )
    finally:  # what was done until an error was done
        api.audit_many(verb, changed)
    return Answer(asdict(outcome))
