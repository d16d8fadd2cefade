"""A task in the main process of a worker: whether it was given back, or its process has died."""

from __future__ import annotations

import logging
from typing import Any

from billiard import einfo
from celery.app.task import Context
from celery.exceptions import WorkerLostError
from celery.worker import request

from .. import redaction
from ..records import description
from . import lost

#: Celery's stubs know only a part of these.
CeleryRequest: Any = request.Request
ExceptionWithTraceback: Any = einfo.ExceptionWithTraceback  # type: ignore[attr-defined]

#: What a request knows that is no header of the sender's own, as Celery tells them apart.
_KNOWN = frozenset((*vars(Context), "lang", "task", "argsrepr", "kwargsrepr", "compression"))

logger = logging.getLogger(__name__)


class Request(CeleryRequest):  # type: ignore[misc]
    """Celery's, which tells of runs that were cut off, and of those that were only stopped.

    .. versionadded:: 0.1
    """

    _celeriac_lost = False

    def __init__(
        self, message: Any, *args: Any, body: Any = None, decoded: bool = False, **options: Any
    ) -> None:
        # Celery decodes a body to look at its arguments, and has whoever runs the task decode it
        # again, unless it is told that this was done. What came as JSON also goes into a pool.
        if not decoded and message.content_type == "application/json":
            body, decoded = message.payload, True
        super().__init__(message, *args, body=body, decoded=decoded, **options)
        request = self._request_dict
        given = request.get("headers")
        if given is None:  # what Celery would find anew for each run, among all that it knows
            request["headers"] = {name: request[name] for name in request if name not in _KNOWN}
        elif given is not message.headers:  # which they are in protocol 1
            request["headers"] = description.headers_of(request)

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> None:
        """Called when the task has failed, or the process it ran in has died."""
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        self._celeriac_lost = isinstance(error, WorkerLostError)
        super().on_failure(exc_info, send_failed_event, return_ok)

    def reject(self, requeue: bool = False) -> None:
        """Give the message back, or drop it."""
        if requeue and not self.acknowledged:
            if self._celeriac_lost:
                self._note("note_crash")
            elif self.time_start:
                self._given_back()
        super().reject(requeue)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """End the run for another one to begin, as a worker does that stops or was cut off.

        The broker has the message still, or again: nothing is sent, so that it is no retry.
        """
        if self.task.acks_late and not self.acknowledged:
            emit_retry = False
            if self.time_start:
                self._given_back()
        super().cancel(pool, signal, emit_retry)

    def info(self, safe: bool = False) -> dict[str, Any]:
        """What ``inspect`` tells of it: of its arguments, what others than the task may see."""
        found: dict[str, Any] = super().info(safe)
        if not safe:
            args, kwargs = list(self.args or ()), dict(self.kwargs or {})
            found["args"], found["kwargs"] = redaction.listed(self.app, self.type, args, kwargs)
        return found

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """End the run of a task that was taken back."""
        if self.time_start:
            self._context.__dict__[description.STARTED] = self.time_start
            lost.terminated(self.app, self._context)
        try:
            super().terminate(pool, signal)
        except NotImplementedError:
            logger.warning(
                "Task %s[%s] is taken back and goes on, as this pool cannot stop what runs; what it"
                " comes to does not count. A pool of processes can: --pool prefork", self.name,
                self.id,
            )  # fmt: skip

    def _note(self, what: str) -> None:
        """Have a channel that counts runs count this one with the message that is given back."""
        note = getattr(self.message.channel, what, None)
        if note is not None:
            note(self.message.delivery_tag)

    def _given_back(self) -> None:
        self._note("note_stopped")
        recorder = getattr(self.app, "recorder", None)
        if recorder is not None and recorder.is_needed:
            recorder.given_back(self.id)
        lost.stopped(self.app, self.id)
