"""A run whose message was taken away says nothing any more: another one has it now."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .. import sqlite
from ..broker import queries as broker_queries
from ..errors import StorageError

if TYPE_CHECKING:
    import apsw

Claim = tuple[int, int]

logger = logging.getLogger(__name__)


class Fence:
    """Knows the claim under which a task runs, where broker and results are in one file.

    A worker that was stopped for longer than its lease, and then goes on, holds claims that others
    have been given since. Its acks delete nothing; its results must not count either.

    :param file: the embedded file with the results, None where they are anywhere else.

    .. versionadded:: 0.1
    """

    def __init__(self, app: Any, file: sqlite.File | None) -> None:
        self._app = app
        self._file = file

    @cached_property
    def _is_broker(self) -> bool:
        url = str(self._app.conf.broker_read_url)
        if self._file is None or not url.startswith("celeriac:"):
            return False
        return sqlite.file_at(sqlite.path_of(url)) is self._file

    @cached_property
    def _tasks(self) -> Any:
        return self._app.tasks

    def claim_of(self, request: Any) -> Claim | None:
        """The claim a run needs to hold until its end, None where it needs none."""
        tag = (getattr(request, "properties", None) or {}).get("delivery_tag")
        if not tag or not self._is_broker:
            return None
        task = self._tasks.get(request.task)
        if task is None or not task.acks_late:  # its message is gone since it began
            return None
        claim = broker_queries.claim_of(tag)
        return claim if claim[1] else None  # taken from a queue without acknowledgements

    def holds(self, db: apsw.Connection, claim: Claim, task_id: str) -> bool:
        """Whether a claim is still held; if not, say so."""
        held = broker_queries.holds(db, *claim)
        if not held:
            logger.warning(
                "Task %s was taken from this worker, which was stopped for too long: what it came"
                " to here does not count",
                task_id,
            )
        return held

    def is_lost(self, claim: Claim | None, task_id: str) -> bool:
        """Whether a claim was taken away."""
        if claim is None or self._file is None:
            return False
        try:
            with self._file.connection() as db:
                return not self.holds(db, claim, task_id)
        except StorageError:  # whoever writes next will say so
            return False
