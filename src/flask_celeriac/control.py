"""Celery's ``app.control``, whose revocations last."""

from __future__ import annotations

from typing import Any

from celery.app import control

from . import revocations

#: Celery's stubs know only a part of it.
CeleryControl: Any = control.Control


class Control(CeleryControl):  # type: ignore[misc]
    """Celery's, which records a revocation before workers are told of it.

    .. versionadded:: 0.1
    """

    def revoke(
        self,
        task_id: Any,
        destination: Any = None,
        terminate: bool = False,
        signal: Any = control.TERM_SIGNAME,  # type: ignore[attr-defined]
        **kwargs: Any,
    ) -> Any:
        """Take tasks back, as :meth:`celery.app.control.Control.revoke` does.

        Where tasks are recorded they are taken back for good: also when no worker hears of it now,
        and for tasks that are sent under these ids later.

        :param task_id: the id of a task, or a list of ids
        :param destination: tell only these workers; nothing is recorded then
        :param terminate: end the tasks that run; what they come to does not count
        """
        try:
            if destination is None:
                ids = [task_id] if isinstance(task_id, str) else list(task_id or ())
                revocations.record(self.app, ids, terminate=terminate)
        finally:
            said = super().revoke(task_id, destination, terminate, signal, **kwargs)
        return said
