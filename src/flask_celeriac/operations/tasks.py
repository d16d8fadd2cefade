"""What can be done with tasks, one at a time."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from celery.result import EagerResult

from .. import states
from ..broker import task_queries as queue_queries
from ..errors import TaskStateError, UnknownTaskError, UnknownTaskNameError
from ..records import description, gate_queries, task_queries
from ..records.task_record import Attempt, TaskRecord
from ..spelling import did_you_mean
from ..task_ids import new_id
from . import outbox, reading
from .listing import LARGEST_PAGE
from .results import with_result
from .sources import Sources, embedded_store, sources_of
from .workers import held_back

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celery.result import AsyncResult

    from ..celery_app import FlaskCelery


def show(app: FlaskCelery, task_id: str) -> TaskRecord:
    """Everything that is known of a task, also by another result backend than ours.

    :raises UnknownTaskError: nothing is
    :raises RecordsDisabledError: nothing is recorded
    """
    return with_result(app, find(app, task_id))


def find(app: FlaskCelery, task_id: str) -> TaskRecord:
    """What is recorded of a task, as of :func:`show`."""
    found = _find(app, task_id)
    if found is None and app.on_commit is not None:
        row = outbox.find(app, task_id)
        # It may have been published between the two.
        found = _find(app, task_id) if row is None else outbox.as_task(app, row)
    if found is None:
        raise UnknownTaskError(f"There is no task {task_id!r}: {_WHY_UNKNOWN}")
    return found


def _find(app: FlaskCelery, task_id: str) -> TaskRecord | None:
    sources = sources_of(app)
    message = None
    # In this order: a task is recorded before it leaves the queue.
    if sources.queue is not None:
        with sources.queue.connection() as db:
            message = queue_queries.find_message(db, task_id)
    recorded = find_record(app, sources, task_id)
    if recorded is None:
        return None if message is None else reading.of_message(app, message)
    return (
        recorded if message is None else reading.merged(reading.of_message(app, message), recorded)
    )


def find_record(app: FlaskCelery, sources: Sources, task_id: str) -> TaskRecord | None:
    """What is recorded of a task."""
    with sources.engine.connect() as connection:
        row = task_queries.find_task(connection, task_id)
    if row is None:
        return None
    return replace(reading.of_row(app, row), result=_result(app, row), traceback=row.traceback)


_WHY_UNKNOWN = (
    "it was never sent or was discarded, its record has been pruned, or a worker refused its"
    " message, as one that is not signed (`flask celery list --state dead`)"
)


def _result(app: FlaskCelery, row: Any) -> Any:
    """What a task returned, as far as it is kept with the record and can be read."""
    unpack = getattr(app.backend, "unpack", None)
    if unpack is None or row.state != states.SUCCEEDED:
        return None
    try:
        return unpack(row.result)
    except Exception:  # noqa: BLE001 - a result in a serializer that is gone hides nothing else
        return None


def attempts(app: FlaskCelery, task_id: str) -> list[Attempt]:
    """The attempts that did not end a task, the first one first."""
    with sources_of(app).engine.connect() as connection:
        rows = task_queries.attempts_of(connection, task_id)
    return [
        Attempt(**{key: value for key, value in row._mapping.items() if key != "task_id"})
        for row in rows
    ]


def workflow(app: FlaskCelery, root_id: str, *, limit: int = LARGEST_PAGE) -> list[TaskRecord]:
    """The tasks that one task brought about, directly or not, the oldest first."""
    with sources_of(app).engine.connect() as connection:
        rows = task_queries.tasks_of_workflow(connection, root_id, limit)
    return [reading.of_row(app, row) for row in rows]


def start(
    app: FlaskCelery,
    name: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> str:
    """Send a task by its name; parameters and errors as of :func:`send`.

    :return: its id
    """
    return str(send(app, name, args, kwargs, **options).id)


def send(
    app: FlaskCelery,
    name: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncResult[Any]:
    """Send a task by its name.

    :param options: as ``apply_async`` takes them: ``queue``, ``countdown``, ``labels``, ...
    :return: Celery's result of it, which has ended already where tasks are run at once
        (``task_always_eager``)
    :raises UnknownTaskNameError: the application has no such task
    :raises TypeError: it does not take such arguments
    """
    task = app.tasks.get(name)
    if task is None:
        hint = did_you_mean(name, app.tasks, "import the module that declares it")
        raise UnknownTaskNameError(f"There is no task called {name!r}: {hint}")
    return task.apply_async(tuple(args), dict(kwargs or {}), **options)


def run_at_once(app: FlaskCelery, result: AsyncResult[Any]) -> TaskRecord | None:
    """What became of a task that was run instead of being sent, None where it was sent.

    Nothing is recorded of such a task.
    """
    if not isinstance(result, EagerResult):
        return None
    now = time.time()
    found = TaskRecord(
        result.id, states.of_celery(result.state), now, result.state, result.name, attempts=1
    )
    ended = replace(found, started=now, finished=now) if found.ended else found
    if result.successful():
        return replace(ended, result=result.result)
    traceback = None if result.traceback is None else str(result.traceback)
    error = description.of_error(result.name, result.result, traceback)
    return replace(ended, traceback=traceback, **error)


def retry(
    app: FlaskCelery,
    task_id: str,
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    sent_as: str | None = None,
) -> str:
    """Send an ended task again, as a task of its own.

    :param args: other positional arguments than it had
    :param kwargs: other keyword arguments than it had
    :param sent_as: the id of the new task, by default a new one
    :return: the id of the new task, whose ``retry_of`` is the old one's
    :raises UnknownTaskError: there is no such task
    :raises TaskStateError: it has not ended, its arguments are not kept and none are given, it
        does not take them, or it is unique and another one is there
    """
    task = find(app, task_id)
    if not task.ended:
        raise TaskStateError(
            f"Task {task_id} is {task.state}: only a task that has ended can be sent again"
        )
    if task.name is None:
        raise TaskStateError(f"Task {task_id} cannot be sent again: its name is not recorded")
    if args is None or kwargs is None:
        kept = _kept_arguments(app, task_id)
        if kept is None and args is None and kwargs is None:
            raise TaskStateError(
                f"Task {task_id} cannot be sent again as it was: its arguments are not kept. Give"
                " args and kwargs"
            )
        old_args, old_kwargs = kept or ([], {})
        args = old_args if args is None else args
        kwargs = old_kwargs if kwargs is None else kwargs
    headers: dict[str, Any] = {description.RETRY_OF: task_id}
    if task.labels:
        headers[description.LABELS] = list(task.labels)
    options: dict[str, Any] = {"headers": headers}
    if task.queue is not None:
        options["queue"] = task.queue
    if task.priority:
        options["priority"] = task.priority
    sent_as = options["task_id"] = sent_as or new_id()
    try:
        found = start(app, task.name, args, kwargs, **options)
    except TypeError as error:
        raise TaskStateError(
            f"Task {task_id} cannot be sent again with these arguments, which {task.name} does not"
            f" take: {error}"
        ) from error
    if found != sent_as:
        raise TaskStateError(
            f"Task {task_id} is not sent again: it is unique, and another one of its kind is there"
        )
    return found


def _kept_arguments(app: FlaskCelery, task_id: str) -> tuple[list[Any], dict[str, Any]] | None:
    with sources_of(app).engine.connect() as connection:
        row = task_queries.find_task(connection, task_id)
        letter = gate_queries.find_letter(connection, task_id)
    kept = None if row is None else reading.arguments_in(row.arguments)
    if kept is None and letter is not None and letter.content_type == "application/json":
        return reading.arguments_in(letter.body)  # the whole of it, however long
    return kept


def revoke(app: FlaskCelery, task_id: str, *, terminate: bool = False) -> None:
    """Take a task back: it will not be begun.

    :param terminate: stop it if it runs, with the process it runs in
    :raises UnknownTaskError: there is no such task
    :raises TaskStateError: it has ended, or it runs and is not to be stopped
    """
    task = find(app, task_id) if terminate else find_after_reaping(app, task_id)
    if task.ended:
        said = states.in_words(task.state)
        raise TaskStateError(f"Task {task_id} {said} already: it cannot be revoked")
    if task.state == states.RUNNING and not terminate and not what_holds_back(app, task):
        raise TaskStateError(
            f"Task {task_id} is running: revoke it with terminate to stop it, or wait for its end"
        )
    app.control.revoke(task_id, terminate=terminate)
    outbox.take_back(app, task_id)


def find_after_reaping(app: FlaskCelery, task_id: str) -> TaskRecord:
    """:func:`find`, where nobody runs what workers had that were killed.

    Other workers see to that within a second; there may be none.
    """
    task = find(app, task_id)
    if task.state == states.RUNNING and _has_reaped(app):
        return find(app, task_id)
    return task


def what_holds_back(app: FlaskCelery, task: TaskRecord) -> str | None:
    """What keeps the worker that has a task from beginning it, as of :func:`.workers.held_back`.

    The embedded queue cannot tell such a task from one that runs, so that workers are asked, where
    they may have tasks that they have not begun.
    """
    known = app.tasks.get(task.name) if task.name else None
    conf: Any = app.conf
    limit = getattr(known, "rate_limit", None) or conf.task_default_rate_limit
    if not limit and conf.worker_prefetch_multiplier == 1:
        return None
    return None if embedded_store(conf) is None else held_back(app, task.id)


def _has_reaped(app: FlaskCelery) -> bool:
    """Whether there were tasks in the hands of workers that were killed: they wait from now on."""
    from ..broker import membership

    store = embedded_store(app.conf)
    return store is not None and membership.reap(store) > 0


def discard(app: FlaskCelery, task_id: str) -> None:
    """Forget an ended task: its record, its result and its attempts.

    :raises UnknownTaskError: there is no such task
    :raises TaskStateError: it has not ended
    """
    with sources_of(app).engine.begin() as connection:
        gone = task_queries.delete_task(connection, task_id)
    if not gone:
        task = find(app, task_id)
        raise TaskStateError(f"Task {task_id} is {task.state}: revoke it before it is discarded")


def is_unknown(app: FlaskCelery, task_id: str) -> bool:
    """Whether it is certain that a task is neither queued nor running nor recorded.

    :raises StorageError: the embedded queue cannot be read, or
        :class:`RecordsUnavailableError`, what is recorded cannot be read just now
    """
    store = embedded_store(app.conf)
    if store is None:
        return False
    from ..records.backend import Backend, in_queue  # costly, and of no use on other brokers

    backend = app.backend
    if not isinstance(backend, Backend) or not _leave_traces(app):
        return False

    def is_nowhere() -> bool:
        if backend.has_message_or_record(task_id):
            return False  # without a look at the body of each message for what follows a task
        # In this order: a task is recorded before it leaves the queue.
        return in_queue(store.file, task_id) is False and not backend.has_record(task_id)

    if not is_nowhere():
        return False
    # It may have been published between the two.
    return app.on_commit is None or (outbox.find(app, task_id) is None and is_nowhere())


def _leave_traces(app: FlaskCelery) -> bool:
    """Whether every task is in the queue until it has ended, and is recorded then."""
    conf: Any = app.conf
    if conf.task_always_eager and not conf.task_store_eager_result:
        return False
    return all(task.acks_late for task in app.tasks.values())
