"""Views: tasks that may be started, and starting them."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import flask

from .. import operations
from ..records.task_record import as_json
from ..task_ids import new_id
from . import idempotency, signatures
from .answers import Answer
from .context import STARTED_BY, current_path
from .problems import Problem

if TYPE_CHECKING:
    from celery import Task

    from ..records.task_record import TaskRecord
    from .context import Api
    from .schemas import Call, OtherCall

#: Seconds that a request waits for a task's end, at most.
LONGEST_WAIT = 30.0
#: Seconds after which a client may ask what became of a task.
ASK_AGAIN = "1"
_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=$|[,;])', re.IGNORECASE)


def list_types(api: Api) -> Answer:
    """The tasks that may be started, with the JSON Schema of their arguments."""
    return Answer({"types": [_type(task) for task in signatures.startable(api.celery)]})


def _type(task: Task[..., Any]) -> dict[str, Any]:
    doc = inspect.getdoc(inspect.unwrap(task.run)) or ""
    return {
        "name": task.name,
        "description": doc.split("\n\n")[0],
        "arguments": signatures.signature_of(task).schema(),
    }


def start(api: Api, name: str, body: Call) -> Answer:
    """Start a task."""
    task = signatures.find(api.celery, name)
    args, kwargs = signatures.validated(task, body.args, body.kwargs)
    task_id, key = new_id(), flask.request.headers.get("Idempotency-Key")
    ran = None
    if key is None:
        ran = _send(api, name, args, kwargs, task_id)
        return _ran(ran) if ran is not None else _started(api, task_id)
    payload = idempotency.fingerprint(name, body.args, body.kwargs)
    with idempotency.claimed(api, key, payload, task_id) as claim:
        if claim.is_new:
            ran = _send(api, name, args, kwargs, claim.task_id)
    if not claim.is_new:
        api.task(claim.task_id)  # the key may be somebody else's, where nobody says who asks
    return _ran(ran) if ran is not None else _started(api, claim.task_id)


def _send(
    api: Api, name: str, args: list[Any], kwargs: dict[str, Any], task_id: str
) -> TaskRecord | None:
    """Send a task; what became of it, where tasks are run at once instead."""
    actor = api.actor
    labels = {} if actor is None else {"labels": [STARTED_BY + actor]}
    result = operations.send(api.celery, name, args, kwargs, task_id=task_id, **labels)
    api.audit("start", task_id, name=name)
    return operations.run_at_once(api.celery, result)


def _ran(task: TaskRecord) -> Answer:
    """Nothing is recorded of a task that was run at once: this is all there is to say of it."""
    return Answer(as_json(task), 200, {"Location": current_path("show", task_id=task.id)})


def _started(api: Api, task_id: str) -> Answer:
    """Where to look for a task; the task itself, if it ends while the client would wait."""
    headers = {"Location": current_path("show", task_id=task_id)}
    wanted = _WAIT.search(",".join(flask.request.headers.getlist("Prefer")))
    seconds = min(float(wanted[1]), LONGEST_WAIT) if wanted else 0.0
    if seconds:
        task = operations.wait(api.celery, task_id, seconds)
        if task.ended:
            headers["Preference-Applied"] = f"wait={seconds:g}"
            return Answer(as_json(task), 200, headers)
    else:
        task = operations.show(api.celery, task_id)
    return Answer(as_json(task), 202, {**headers, "Retry-After": ASK_AGAIN})


def retry(api: Api, task_id: str, body: OtherCall) -> Answer:
    """Send an ended task again, as a task of its own."""
    task = api.task(task_id)
    args: Any = body.args
    kwargs: Any = body.kwargs
    if args is not None or kwargs is not None:
        # Else this would start any task with any arguments.
        known = api.celery.tasks.get(task.name or "")
        if known is None or not signatures.is_startable(known):
            place = ("/args" if args is not None else "/kwargs", "Leave them out")
            detail = (
                f"{task.name} is not declared with http=True: it takes no other arguments here."
            )
            raise Problem("invalid-body", detail, places=[place])
        args, kwargs = signatures.validated(known, args or [], kwargs or {})
    made = operations.retry(api.celery, task_id, args=args, kwargs=kwargs)
    api.audit("retry", task_id, new=made)
    return _started(api, made)
