"""What stands in for a result backend where none is configured."""

from __future__ import annotations

from typing import Any, NoReturn

from celery.backends import base as _base

from ..errors import ResultsDisabledError

#: Celery's stubs know only a part of its backends.
base: Any = _base


class DisabledBackend(base.DisabledBackend):  # type: ignore[misc]
    """Celery's backend that stores nothing, with an error that says what to set.

    Celery's own answers ``AsyncResult(...).state`` with an :exc:`AttributeError`.

    .. versionadded:: 0.1
    """

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise ResultsDisabledError

    get_state = get_status = get_result = get_traceback = get_task_meta_for = _refuse
    wait_for = get_many = wait_for_pending = _get_task_meta_for = _refuse
