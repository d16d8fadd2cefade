"""The write side of the result backend: every state of a task becomes its record's."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from functools import cached_property, partial
from typing import Any

from celery import exceptions, states
from celery.backends import base
from kombu.utils.json import dumps

from .. import states as record_states
from ..config_mask import mask
from ..errors import StorageError
from . import description, gate_queries, queries, task_queries, write_queries
from .ends import Ended, Ends, State, Successes
from .fence import Claim
from .task_record import Attempt

#: Celery's stubs know only a part of its backends.
BaseBackend: Any = base.BaseBackend
_BackendStoreError: Any = exceptions.BackendStoreError
_META_COLUMNS = ("status", "result", "traceback", "children", "date_done")
LONGEST_ARGUMENTS = description.LONGEST_ARGUMENTS

logger = logging.getLogger(__name__)


class Recording(BaseBackend):  # type: ignore[misc]
    """Records what a result backend is told, also of tasks whose result nobody wants.

    .. versionadded:: 0.1
    """

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **_: Any,
    ) -> Any:
        values = self._values(task_id, result, state, traceback, request)
        self._write(values, state, request)
        return result

    def _values(
        self, task_id: str, result: Any, state: str, traceback: str | None, request: Any
    ) -> dict[str, Any]:
        """What is recorded of a task in a state."""
        now = time.time()
        children = self.current_task_children(request)
        known = self._keeps_all(request)
        values: dict[str, Any] = {}
        if known and _is_of(request, task_id):
            values = description.of_request(request) | self._origin.of(request)
        ours = record_states.of_celery(state)
        if state == states.REVOKED and says_expired(result):
            ours = record_states.EXPIRED
            if known and values:  # it was not begun
                values |= {"attempts": request.retries or 0, "worker": None}
        if known and state in states.EXCEPTION_STATES:
            values |= description.of_error(values.get("name"), result, traceback)
        if known and ours == record_states.RETRYING:
            values["eta"] = now  # the next attempt's, unless that says of a later one
        values |= {
            "task_id": task_id,
            "state": ours,
            "status": state,
            "result": self.pack(result),
            "traceback": mask(description.storable(traceback)) if traceback else traceback,
            "children": dumps(children) if children else None,
            "details": self._details(result, state, traceback, request),
            "finished": now if state in states.READY_STATES else None,
            "updated": now,
        }
        return values

    def _write(
        self, values: dict[str, Any], state: str, request: Any, *, wanted: bool = True
    ) -> None:
        task_id = values["task_id"]
        # A chord learns of a member without a stored result by itself, afterwards.
        part = self._chords.part(request, state, values["result"]) if wanted else None
        attempt = _repeated(values)
        own = _is_of(request, task_id)
        claim = self._fence.claim_of(request) if own else None
        reply_to = request.reply_to if own else None
        if claim is None and self._keeps_all(request):
            self._find_arguments(values, request)
        if self._file is None or part is not None or attempt is not None:
            with self.engine.begin() as connection:
                if not self._write_own(connection, values, request, claim):
                    return
                if attempt is not None:
                    task_queries.add_attempt(connection, task_id, attempt)
                if part is not None:
                    self._chords.note(connection, part, request.chord)
        else:
            _ = self.engine  # which makes the tables
            if state == states.SUCCESS and claim is not None:
                ended = State(values, claim, reply_to)
                if self._left_to_ack(claim, self._ends, ended):
                    return
            with self._file.connection() as db:
                self._ends.store(db, values, claim)
        if state in states.READY_STATES:
            self.ring(task_id, reply_to)

    def _write_own(
        self, connection: Any, values: dict[str, Any], request: Any, claim: Claim | None
    ) -> bool:
        """Write a state; False where another run has the task now, which ends it."""
        if write_queries.write(connection, values, claim, self.longest_arguments):
            return True
        if "run" not in values:
            return not self._fence.is_lost(claim, values["task_id"])
        found = gate_queries.standing(connection, values["task_id"])
        if found is None or found.run == values["run"]:
            return True
        request.__dict__[description.SUPERSEDED] = True
        logger.warning(
            "Task %s has begun once more elsewhere: what this run came to does not count",
            values["task_id"],
        )
        return False

    def _find_arguments(self, values: dict[str, Any], request: Any) -> None:
        """Take the arguments from the request, where no message of ours has them."""
        if request is None or request.args is None:
            return
        try:
            text = dumps([list(request.args), dict(request.kwargs or {})])
        except (TypeError, ValueError):
            return
        if len(text) <= LONGEST_ARGUMENTS:
            values["arguments"] = text

    # Tasks whose result nobody wants are recorded all the same

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """A task has succeeded."""
        wanted = store_result and not (request is not None and request.ignore_result)
        if state == states.SUCCESS and self._write_success(task_id, result, request, wanted):
            return
        if not wanted:
            self._record_only(task_id, None, state, None, request)
        super().mark_as_done(task_id, result, request, store_result, state)

    def mark_as_failure(  # noqa: PLR0917 - Celery's signature
        self,
        task_id: str,
        exc: Any,
        traceback: str | None = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """A task has failed."""
        if not store_result:
            self._record_only(task_id, exc, state, traceback, request)
        super().mark_as_failure(
            task_id, exc, traceback, request, store_result, call_errbacks, state
        )

    def note_retry(self, request: Any, exc: Any, traceback: str | None) -> None:
        """A task whose result nobody wants is to run again."""
        self._record_only(request.id, exc, states.RETRY, traceback, request)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """A task was taken back; if it has just ended here, that is how it has ended."""
        self._settle()
        if request is None and self._knows_better(task_id):
            return
        if not store_result:
            self._record_only(task_id, exceptions.TaskRevokedError(reason), state, None, request)
        super().mark_as_revoked(task_id, reason, request, store_result, state)

    def _knows_better(self, task_id: str) -> bool:
        """Whether a worker that hears of a revocation, and has no such task, has nothing to add.

        Before they hear of it ``app.control`` has recorded that; what is unknown now was discarded
        since, and what runs in another worker goes on.
        """
        if getattr(self.app, "recorder", None) is None:
            return False
        if self._file is not None:
            with suppress(StorageError), self._file.connection() as db:  # no broker was in it
                if (claimed := queries.is_claimed(db, task_id)) is not None:
                    return claimed
        with self.engine.connect() as connection:
            found = gate_queries.standing(connection, task_id)
        return found is None or found.state in (record_states.RUNNING, record_states.REVOKED)

    def _settle(self) -> None:
        """Write the ends that wait for their acknowledgements."""
        if self._file is None or not self._backlog:
            return
        with self._backlog.lock:
            with self._file.transaction() as db:
                written = self._backlog.write(db, None)
            self._backlog.written(written)

    def _write_success(self, task_id: str, result: Any, request: Any, wanted: bool) -> bool:
        """Write a success the short way; False where there is more to say of it."""
        if self._file is None or self._is_extended:
            return False
        ended = self._successes.of(task_id, result, request, wanted=wanted)
        if ended is None:
            return False
        if not (wanted or self.records_all):
            return True
        if self._engine is not None and self._left_to_ack(ended.row[:2], self._successes, ended):
            return True
        self._ensure_retryable(
            self._end,
            ended,
            fallback_exc=partial(_BackendStoreError, task_id=task_id, state=states.SUCCESS),
            fallback_msg="failed to store result on the backend",  # Celery's words
        )
        return True

    def _end(self, ended: Ended) -> None:
        _ = self.engine  # which makes the tables
        if self._left_to_ack(ended.row[:2], self._successes, ended):
            return
        with self._file.connection() as db:
            self._successes.write(db, [ended])
        self._successes.written([ended])

    @cached_property
    def records_all(self) -> bool:
        """Whether more is kept of a task than its result."""
        state = getattr(self.app, "celeriac", None)
        return state is None or state.settings.options.records == "all"

    @property
    def longest_arguments(self) -> int:
        """Characters of a message's body that are kept as arguments, none if negative."""
        return LONGEST_ARGUMENTS if self.records_all else -1

    def _keeps_all(self, request: Any) -> bool:
        # Where the queue does not tell runs from each other, the record does.
        return self.records_all or description.RUN in getattr(request, "__dict__", ())

    @cached_property
    def _is_extended(self) -> bool:
        return bool(self.app.conf.result_extended)

    def _record_only(
        self, task_id: str, result: Any, state: str, traceback: str | None, request: Any
    ) -> None:
        """Record what became of a task whose result nobody wants; Celery knows nothing of it."""
        if request is None or request.is_eager or not self._keeps_all(request):
            return

        def write() -> None:
            values = self._values(
                task_id, self.encode_result(result, state), state, traceback, request
            )
            values |= {"status": None, "result": None, "details": None}
            self._write(values, state, request, wanted=False)

        self._ensure_retryable(write)

    def _left_to_ack(self, claim: Any, writer: Ends | Successes, item: Any) -> bool:
        """Leave a success to the transaction that acknowledges the task's message, if there is one.

        That is where the task runs in the process whose event loop acknowledges it.
        """
        if claim is None or self._backlog is None:
            return False
        put: bool = self._backlog.put(claim, writer, item)
        return put

    def _details(self, result: Any, state: str, traceback: str | None, request: Any) -> str | None:
        """What there is besides the columns: group, parent, and with ``result_extended`` more."""
        if self.app.conf.result_extended:
            meta = self._get_result_meta(result, state, traceback, request)
            details = {key: value for key, value in meta.items() if key not in _META_COLUMNS}
        else:
            found = {"group_id": "group", "parent_id": "parent_id"}
            details = {key: getattr(request, name, None) for key, name in found.items()}
            details = {key: value for key, value in details.items() if value}
        return self.pack(details) if details else None


def _is_of(request: Any, task_id: str) -> bool:
    """Whether a request is that of a task, not of one that speaks of another."""
    return request is not None and request.id == task_id


def _repeated(values: dict[str, Any]) -> Attempt | None:
    """The attempt that ended, where another is to come."""
    if values["state"] != record_states.RETRYING or not values.get("attempts"):
        return None
    return Attempt.of(values)


def says_expired(result: Any) -> bool:
    """Whether the result of a task says that its time had passed before it was begun."""
    said = result.get("exc_message") if isinstance(result, dict) else getattr(result, "args", None)
    return said in ("expired", ["expired"], ("expired",))
