"""Views: tasks that may be started, and starting them."""

from __future__ import annotations

import inspect
import re
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import flask

from .. import operations, states
from ..errors import RecordsDisabledError, UnknownTaskError
from ..records.task_record import TaskRecord, as_json
from ..task_ids import new_id
from ..urls import records_url
from . import idempotency, signatures
from .answers import Answer
from .context import STARTED_BY, current_path
from .problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Task

    from ..celery_app import FlaskCelery
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


@dataclass(frozen=True)
class Sent:
    """What is known of a task without a look at its record.

    :param ran: whether it was run at once instead of being sent: then nothing is recorded of it
    :param noted: False where the records could not be used when it was sent: who looks at them
        then may wait for minutes
    """

    task: TaskRecord
    ran: bool = False
    noted: bool = True


def start(api: Api, name: str, body: Call) -> Answer:
    """Start a task."""
    task = signatures.find(api.celery, name)
    args, kwargs = signatures.validated(task, body.args, body.kwargs)
    _check_records(api.celery)
    payload = idempotency.fingerprint("start", name, body.args, body.kwargs)
    return _answer(api, _once(api, payload, partial(_send, api, name, args, kwargs)))


def _once(api: Api, payload: str, send: Callable[[str], Sent]) -> Sent:
    """Send a task, unless the request came before with its ``Idempotency-Key``.

    :param payload: the fingerprint of the request
    :param send: takes the id that the task is to have
    """
    task_id, key = new_id(), flask.request.headers.get("Idempotency-Key")
    if key is None:
        return send(task_id)
    with idempotency.claimed(api, key, payload, task_id) as claim:
        if not claim.is_new:  # the key may be somebody else's, where nobody says who asks
            return Sent(api.task(claim.task_id))
        sent = send(claim.task_id)
        claim.task_id = sent.task.id
        return sent


def _check_records(app: FlaskCelery) -> None:
    """Before anything is sent, as nobody could look for it after.

    That their database is out of reach just now is another thing: a task is worth more than its
    record.

    :raises RecordsDisabledError: there are none
    """
    if records_url(app) is None and not app.conf.task_always_eager:
        raise RecordsDisabledError


def _send(api: Api, name: str, args: list[Any], kwargs: dict[str, Any], task_id: str) -> Sent:
    """Send a task.

    :raises Problem: it is unique, and another one is there that whoever asks may not see
    """
    actor = api.actor
    labels = () if actor is None else (STARTED_BY + actor,)
    options = {"labels": list(labels)} if labels else {}
    result = operations.send(api.celery, name, args, kwargs, task_id=task_id, **options)
    if result.id != task_id:
        return Sent(_holder(api, str(result.id)))
    noted = api.audit_sent("start", task_id, name=name)
    ran = operations.run_at_once(api.celery, result)
    if ran is not None:
        return Sent(ran, ran=True)
    known = TaskRecord(task_id, states.QUEUED, time.time(), name=name, labels=labels)
    return Sent(known, noted=noted)


def _holder(api: Api, task_id: str) -> TaskRecord:
    """The task that is there already, as unique tasks are, so that nothing was sent."""
    try:
        return api.task(task_id)
    except UnknownTaskError:
        detail = "This task is unique, and one is there that is not yours: ask when it has ended."
        raise Problem("task-state", detail) from None


def _answer(api: Api, sent: Sent) -> Answer:
    """Where to look for a task; the task itself, if it ends while the client would wait."""
    headers = {"Location": current_path("show", task_id=sent.task.id)}
    if sent.ran:
        return Answer(as_json(sent.task), 200, headers)
    wanted = _WAIT.search(",".join(flask.request.headers.getlist("Prefer")))
    seconds = min(float(wanted[1]), LONGEST_WAIT) if wanted else 0.0
    task = sent.task
    if sent.noted:
        look = partial(operations.wait, timeout=seconds) if seconds else operations.show
        task = api.after_change(lambda: look(api.celery, sent.task.id), sent.task)
    if seconds and task.ended:
        headers["Preference-Applied"] = f"wait={seconds:g}"
        return Answer(as_json(task), 200, headers)
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
    payload = idempotency.fingerprint("retry", task_id, body.args, body.kwargs)
    return _answer(api, _once(api, payload, partial(_send_again, api, task, args, kwargs)))


def _send_again(api: Api, task: TaskRecord, args: Any, kwargs: Any, new_id: str) -> Sent:
    made = operations.retry(api.celery, task.id, args=args, kwargs=kwargs, sent_as=new_id)
    noted = api.audit_sent("retry", task.id, new=made)
    new = TaskRecord(
        made,
        states.QUEUED,
        time.time(),
        name=task.name,
        queue=task.queue,
        priority=task.priority,
        labels=task.labels,
        retry_of=task.id,
    )
    return Sent(new, noted=noted)
