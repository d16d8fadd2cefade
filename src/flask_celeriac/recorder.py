"""Records of tasks that go to another broker than the embedded one, whose queue is no record.

A row before the task is sent, and one more write when it begins; the result backend writes its
end. A write that fails is told in the log, and stops nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from celery import states as celery_states
from kombu.exceptions import EncodeError
from kombu.utils.uuid import uuid

from . import capturing, signing, states
from .broker import queries as broker_queries
from .broker import run_queries
from .broker.conditions import NotPutError
from .errors import MessageRefusedError, RecordsUnavailableError, StorageError
from .limits import WAITS
from .operations.sources import embedded_store
from .records import description, gate_queries, task_queries, transitions, write_queries
from .records.origin import Origin
from .records.recording import Recording
from .urls import records_url

if TYPE_CHECKING:
    from .celery_app import FlaskCelery
    from .records.gate_queries import Standing

_Work = Callable[[Any], object]
#: What says that a message is never going to be sent.
_REFUSALS = (EncodeError, MessageRefusedError)
#: Headers of one message, not of the next one of its task.
_OF_MESSAGE = frozenset((capturing.HEADER, signing.HEADER))
#: Seconds for which nothing is tried after the database was out of reach.
REST = 5.0

logger = logging.getLogger(__name__)

_condition: ContextVar[Condition | None] = ContextVar("condition", default=None)


@dataclass(frozen=True)
class Condition:
    """What has to be so for a task to be sent, looked at with its record.

    :param check: returns the id of another task that keeps it from being sent
    """

    task_id: str
    check: Callable[[Any], str | None]


@contextmanager
def required(task_id: str, check: Callable[[Any], str | None]) -> Iterator[None]:
    """Send a task in the block only if a condition is met, looked at in its record's transaction.

    :param check: takes the connection; returns the id of another task that keeps it from being sent
    """
    token = _condition.set(Condition(task_id, check))
    try:
        yield
    finally:
        _condition.reset(token)


class Recorder:
    """Writes what becomes of an application's tasks before they end.

    .. versionadded:: 0.1
    """

    def __init__(self, app: FlaskCelery) -> None:
        conf: Any = app.conf
        self._app = app
        embedded = str(conf.broker_write_url or "").startswith("celeriac:")
        self._records = records_url(app)
        #: Whether there is a database for records, and no queue that is one.
        self.is_needed = self._records is not None and not embedded
        #: What the queue knows of a task that is recorded elsewhere.
        self.origin = Origin(app, self._records)
        self._rests_until = 0.0
        self._owes = False

    @cached_property
    def writes_ends(self) -> bool:
        """Whether there are records, and a result backend that does not write them."""
        return self._records is not None and not isinstance(self._app.backend, Recording)

    def sent(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> None:
        """A task is about to be sent.

        :param options: the named options of ``send_task``
        :raises NotPutError: another task keeps it from being sent
        :raises StorageError: its condition cannot be looked at
        """
        task_id = options["task_id"]
        now = time.time()
        eta = description.moment_of(options.get("eta"))
        if eta is None and options.get("countdown"):
            eta = now + float(options["countdown"])
        repeated = (options.get("retries") or 0) > 0
        waiting = states.RETRYING if repeated else states.SCHEDULED
        values = {
            "task_id": task_id,
            "state": waiting if eta is not None and eta > now else states.QUEUED,
            "status": celery_states.RETRY if repeated else None,
            "name": name,
            "queue": self._queue(name, args, kwargs, options),
            "priority": options.get("priority"),
            "attempts": options.get("retries") or None,
            "arguments": description.text_of(args, kwargs, *description.besides(options, now)),
            "created": now,
            "eta": eta,
            "updated": now,
            **description.lineage(task_id, options),
            **description.of_headers(options.get("headers") or {}),
        }
        condition = _condition.get()
        if condition is None or condition.task_id != task_id:
            # What is put off may be the second message of a task that runs.
            self._write(values, unless_it_runs=WAITS in (options.get("headers") or ()))
        else:
            self._write_if(values, condition)

    def not_sent(self, *task_ids: str) -> None:
        """Tasks were about to be sent, and the call raised: they are none, unless one begins."""
        if self.is_needed and task_ids:
            forget = partial(task_queries.delete_unsent, ids=task_ids, before=time.time())
            self._do(task_ids[0], forget, forget)

    def call_raised(self, error: BaseException, options: dict[str, Any]) -> None:
        """Sending a task has raised: nobody is to send it later, as if its message were lost.

        A retry, a replacement, and what is sent again go on being what they are.

        :param options: the named options of ``send_task``
        """
        headers = options.get("headers") or {}
        goes_on = options.get("retries") or options.get("replaced_task_nesting")
        if isinstance(error, _REFUSALS) or not (goes_on or description.AGAIN in headers):
            self.not_sent(options["task_id"])

    def began(
        self, request: Any, *, again: bool, second: bool = False, limit: int
    ) -> Standing | None:
        """A worker begins a task: record that, unless it is not to run.

        From then on this run has a mark of its own, without which nobody ends the task.

        :param again: a message of this task may have been here before
        :param second: this one was not, so that the broker has the other one until its run ends
        :param limit: how many runs may be cut off by the death of their process
        :return: what has become of the task, where it is not to run; ``running`` where it runs, by
            another message of it, or where too many runs were cut off, which it has the number of.
            None where it may run, and where the database is out of reach
        """
        run = uuid()
        values = description.of_request(request)
        values |= {
            "task_id": request.id,
            "state": states.RUNNING,
            "queue": (request.delivery_info or {}).get("routing_key"),
            "arguments": description.text_of(request.args, request.kwargs),
            "updated": time.time(),
            "run": run,
            "crashes": 0,
        }
        refused: Standing | None = None
        written = False

        def begin(connection: Any) -> None:
            nonlocal refused, written
            if again:
                refused = self._checked(connection, values, limit, second=second)
            if refused is None:
                written = write_queries.write(connection, values)
                if not written:
                    refused = _over(connection, values, again)

        if self._do(values["task_id"], begin) and written:
            request.__dict__[description.RUN] = run
        return refused

    def _checked(
        self, connection: Any, values: dict[str, Any], limit: int, *, second: bool
    ) -> Standing | None:
        """Count a run that was cut off; what :meth:`began` returns."""
        found = gate_queries.standing(connection, values["task_id"], alone=True)
        refused = _refused(found, values["attempts"], second=second)
        if refused is not None or found is None:
            return refused
        if found.goes_on(values["attempts"]):
            values["crashes"] = found.crashes + 1
            if 0 < limit <= found.crashes + 1:
                return found._replace(crashes=found.crashes + 1)
        return None

    def over(self, request: Any, *, second: bool = False) -> Standing | None:
        """What has become of a task that is not to run; None where it may.

        A message of it may have been here before.

        :param second: as of :meth:`began`
        """
        refused: Standing | None = None

        def look(connection: Any) -> None:
            nonlocal refused
            found = gate_queries.standing(connection, request.id)
            refused = _refused(found, (request.retries or 0) + 1, second=second)

        self._do(request.id, look)
        return refused

    def count_start(self, request: Any) -> bool:
        """Count a run of an embedded message that was claimed before; False if it was taken away.

        Should its process die, it has cut off that run.
        """
        try:
            store = embedded_store(self._app.conf)
        except StorageError as error:  # of a newer version by now, say: no reason for it to fail
            logger.warning("A run of task %s cannot be counted: %s", request.id, error)
            return True
        tag = (request.properties or {}).get("delivery_tag")
        if store is None or not tag:
            return True
        with store.file.connection() as db:
            return run_queries.count_start(db, *broker_queries.claim_of(tag))

    def given_back(self, task_id: str) -> None:
        """A run was ended for another one to begin: nobody has died."""
        now = time.time()
        self._write({"task_id": task_id, "state": states.QUEUED, "updated": now})

    def left(self, request: Any) -> None:
        """A run has ended without a state; its task may have been sent again."""
        run = request.__dict__.get(description.RUN)
        if run is not None:
            leave = partial(gate_queries.leave, task_id=request.id, run=run, now=time.time())
            self._do(request.id, leave, leave)

    def ended(
        self, task_id: str, request: Any, state: str, error: Any = None, traceback: Any = None
    ) -> None:
        """A run has come to its end, whose result goes elsewhere.

        :param request: None where only the id is known
        """
        values: dict[str, Any] = {}
        if request is not None:
            values = description.of_request(request) | self.origin.of(request)
        if error is not None:
            text = None if traceback is None else str(traceback)
            values |= description.of_error(values.get("name"), error, text)
            values["traceback"] = text
        now = time.time()
        if state == states.RETRYING:
            values["eta"] = now  # the next attempt's, unless that says of a later one
        values |= {"task_id": task_id, "state": state, "updated": now}
        values["finished"] = now if state in states.ENDED else None
        if request is not None and request.args is not None:
            values["arguments"] = description.text_of(request.args, request.kwargs)

        write = partial(transitions.end, values=values)
        self._do(task_id, write, partial(write, late=True))

    def relayed(self, headers: dict[str, Any], arguments: str | None, **known: Any) -> None:
        """A message that was made before is about to be sent.

        :param arguments: its body, where that is a text
        :param known: what else is known of its task, by the names of the columns
        """
        now = time.time()
        said = description.of_message(headers["id"], headers, arguments)
        if arguments is not None:
            lasting = {name: headers[name] for name in headers.keys() - _OF_MESSAGE}
            arguments = description.with_besides(arguments, lasting)
        eta, retries = said["eta"], headers.get("retries") or 0
        waiting = states.RETRYING if retries else states.SCHEDULED
        values = {
            "task_id": headers["id"],
            "state": waiting if eta is not None and eta > now else states.QUEUED,
            "name": headers.get("task"),
            "attempts": retries or None,
            "arguments": arguments,
            "created": now,
            "updated": now,
            **known,
            **said,
        }
        # One that is unique may have been sent in the place of another, which runs.
        unique = getattr(self._app.tasks.get(values["name"]), "unique", None)
        self._write(values, unless_it_runs=unique is not None)

    def given_up(
        self, task_id: str, name: str | None, queue: str | None, created: float, reason: str
    ) -> None:
        """A message that was made before cannot be sent, whatever is tried."""
        now = time.time()
        kind, _, said = reason.partition(": ")
        values = {
            "task_id": task_id,
            "state": states.DEAD,
            "status": celery_states.REJECTED,
            "name": name,
            "queue": queue,
            "created": created,
            "finished": now,
            "updated": now,
            "error_type": kind,
            "error_message": f"It cannot be sent: {said or kind}",
        }
        write = partial(write_queries.write, values=values)
        self._do(task_id, write, write)

    def _queue(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> str | None:
        keys = ("queue", "routing_key", "exchange")
        wanted: dict[str, Any] = {key: options[key] for key in keys if key in options}
        try:
            queue = self._app.amqp.router.route(wanted, name, args, kwargs).get("queue")
        except Exception:  # noqa: BLE001 - sending it will say so
            return None
        return getattr(queue, "name", queue)

    def _write_if(self, values: dict[str, Any], condition: Condition) -> None:
        from .database import OUT_OF_REACH, engine_for

        assert self._records is not None
        try:
            with engine_for(self._records).begin() as connection:
                holder = condition.check(connection)
                if holder is not None:
                    raise NotPutError(holder)
                write_queries.write(connection, values)
        except OUT_OF_REACH as error:
            raise RecordsUnavailableError(
                f"Whether this unique task is there already cannot be told just now: {error}"
            ) from error

    def _write(self, values: dict[str, Any], *, unless_it_runs: bool = False) -> None:
        write = transitions.announce if unless_it_runs else write_queries.write
        self._do(values["task_id"], partial(write, values=values))

    def settle(self) -> None:
        """Write what could not be written, as this process is about to end without a word."""
        if self._owes:
            from .owed import owed

            owed.settle()

    def _do(self, task_id: str, work: _Work, later: _Work | None = None) -> bool:
        """Do something in a transaction; False where the database cannot be used.

        :param later: what is to be done then when it can be used again
        """
        if self._records is None:
            return False
        from . import brief, owed

        rests = time.monotonic() < self._rests_until
        if not rests:
            try:
                brief.run(self._records, work)
            except Exception as error:  # noqa: BLE001 - a task is worth more than its record
                logger.warning("Task %s cannot be recorded just now: %s", task_id, error)
                rests = brief.may_pass(error)
                if rests:  # otherwise it is this task's own, and others are recorded
                    self._rests_until = time.monotonic() + REST
            else:
                return True
        if rests and later is not None:
            self._owes = owed.owed.add(owed.Write(self._records, task_id, later)) or self._owes
        return False


def _over(connection: Any, values: dict[str, Any], again: bool) -> Standing | None:
    found = gate_queries.standing(connection, values["task_id"])
    return found if found and found.is_over(values["attempts"], again=again) else None


def _refused(found: Standing | None, attempt: int, *, second: bool) -> Standing | None:
    """What has become of a task that is not to run, or runs by another message."""
    if found is None or found.is_over(attempt, again=True):
        return found
    return found._replace(crashes=0) if second and found.goes_on(attempt) else None
