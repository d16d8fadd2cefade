"""The write side of the result backend: every state of a task becomes its record's."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery import states
from celery.backends import base
from kombu.utils.json import dumps

from .. import states as record_states
from ..config_mask import mask
from . import description, gate_queries, task_queries, write_queries
from .task_record import Attempt

#: Celery's stubs know only a part of its backends.
BaseBackend: Any = base.BaseBackend
_META_COLUMNS = ("status", "result", "traceback", "children", "date_done")
#: Characters of a task's arguments that are kept with its record.
LONGEST_ARGUMENTS = 65_536

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
        mine = request is not None and request.id == task_id
        values = description.of_request(request) if mine else {}
        ours = record_states.of_celery(state)
        if state == states.REVOKED and _says_expired(result):
            ours = record_states.EXPIRED
        if state in states.EXCEPTION_STATES:
            values |= description.of_error(values.get("name"), result, traceback)
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
        task_id, stored = values["task_id"], values["result"]
        # A chord learns of a member without a stored result by itself, afterwards.
        part = self._chords.part(request, state, stored) if wanted else None
        mine = request is not None and request.id == task_id
        claim = self._fence.claim_of(request) if mine else None
        if part is not None and request is not None:
            if self._fence.is_lost(claim, task_id):
                return
            self._find_arguments(values, request)
            with self.engine.begin() as connection:
                if not self._write_own(connection, values, request):
                    return
                self._chords.note(connection, part, request.chord)
        elif self._file is None:
            self._find_arguments(values, request)
            with self.engine.begin() as connection:
                if not self._write_own(connection, values, request):
                    return
                self._note_attempt(connection, values)
        elif state == states.SUCCESS and self._store_with_ack(values, claim):
            return
        else:
            if claim is None:
                self._find_arguments(values, request)
            self._make_tables()
            with self._file.connection() as db:
                self._store(db, values, claim)
            if values["state"] == record_states.RETRYING:
                with self.engine.begin() as connection:
                    self._note_attempt(connection, values)
        if state in states.READY_STATES:
            self.ring(task_id)

    def _write_own(self, connection: Any, values: dict[str, Any], request: Any) -> bool:
        """Write a state; False where another run of the task has begun since, which now ends it."""
        if write_queries.write(connection, values) or "run" not in values:
            return True
        found = gate_queries.standing(connection, values["task_id"])
        if found is None or found.run == values["run"]:
            return True
        request.__dict__[description.SUPERSEDED] = True
        logger.warning(
            "Task %s has begun once more elsewhere: what this run came to does not count",
            values["task_id"],
        )
        return False

    def _note_attempt(self, connection: Any, values: dict[str, Any]) -> None:
        """Keep the history of an attempt that is to be repeated."""
        if values["state"] != record_states.RETRYING or not values.get("attempts"):
            return
        known = ("worker", "started", "error_type", "error_message", "traceback")
        ended = Attempt(
            number=values["attempts"],
            state=record_states.RETRYING,
            finished=values["updated"],
            **{name: values.get(name) for name in known},
        )
        task_queries.add_attempt(connection, values["task_id"], ended)

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
        if not store_result or (request is not None and request.ignore_result):
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

    def _record_only(
        self, task_id: str, result: Any, state: str, traceback: str | None, request: Any
    ) -> None:
        """Record what became of a task whose result nobody wants; Celery knows nothing of it."""
        if request is None or request.is_eager:
            return

        def write() -> None:
            values = self._values(
                task_id, self.encode_result(result, state), state, traceback, request
            )
            values |= {"status": None, "result": None, "details": None}
            self._write(values, state, request, wanted=False)

        self._ensure_retryable(write)

    def _make_tables(self) -> None:
        _ = self.engine  # they are made when it is

    def _store(self, db: Any, values: dict[str, Any], claim: tuple[int, int] | None) -> None:
        longest = LONGEST_ARGUMENTS
        if not write_queries.write_embedded(db, values, claim, longest) and claim is not None:
            self._fence.holds(db, claim, values["task_id"])  # says so where it is not

    def _store_with_ack(self, values: dict[str, Any], claim: tuple[int, int] | None) -> bool:
        """Leave a result to the transaction that acknowledges the task's message, if there is one.

        That is where the task runs in the process whose event loop acknowledges it.
        """
        if claim is None or self._backlog is None or not self._backlog.is_kept:
            return False
        self._make_tables()
        put: bool = self._backlog.put(
            claim, lambda db: self._store(db, values, claim), lambda: self.ring(values["task_id"])
        )
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


def _says_expired(result: Any) -> bool:
    said = result.get("exc_message") if isinstance(result, dict) else getattr(result, "args", None)
    return said in ("expired", ["expired"], ("expired",))
