"""What a message in the embedded queue knows of its task, for records in another database."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..broker import queries as broker_queries
from ..errors import StorageError

if TYPE_CHECKING:
    from .. import sqlite

#: The attribute of a request with what was read.
_READ = "celeriac_origin"


class Origin:
    """Reads when a task was sent, to which queue and how urgently.

    Where the records are in the queue's own file, the statements that write them read it there.

    :param url: of the database with the records

    .. versionadded:: 0.1
    """

    def __init__(self, app: Any, url: str | None) -> None:
        self._app = app
        self._is_apart = url is not None and not url.startswith("celeriac:")

    @cached_property
    def _file(self) -> sqlite.File | None:
        from .. import sqlite  # with APSW, which not every program needs

        broker = str(self._app.conf.broker_read_url)
        return sqlite.file_at(sqlite.path_of(broker)) if broker.startswith("celeriac:") else None

    def of(self, request: Any) -> dict[str, Any]:
        """By the names of the columns, nothing where that is not known; read once for a run."""
        if not self._is_apart or self._file is None:
            return {}
        tag = (getattr(request, "properties", None) or {}).get("delivery_tag")
        found: dict[str, Any] | None = request.__dict__.get(_READ)
        if found is None and tag:
            found = request.__dict__[_READ] = self._read(broker_queries.claim_of(tag)[0])
        return found or {}

    def _read(self, number: int) -> dict[str, Any]:
        from . import queries  # with SQLAlchemy

        assert self._file is not None
        try:
            with self._file.connection() as db:
                return queries.origin(db, number)
        except StorageError:  # a task is worth more than its record
            return {}
