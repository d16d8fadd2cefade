"""Celery's result backend on the records, in the embedded file or a database of the user's."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celery import exceptions, states
from celery.backends import base
from kombu.utils.json import dumps, loads

from .. import liveness, sqlite
from ..broker import queries as broker_queries
from ..doorbell import AVAILABLE, Bell, Ringer
from ..errors import RecordsUnavailableError, StorageError, StorageUnavailableError
from . import queries

if TYPE_CHECKING:
    from sqlalchemy import Engine

#: Seconds without a result after which a wait asks whether anybody consumes the task's queue.
PATIENCE = 3.0
#: Seconds between looks at the record while its bell is silent, and where there is none.
FALLBACK, POLLING = 0.5, 0.01

#: Celery's stubs know only a part of its backends.
BaseBackend: Any = base.BaseBackend
_META_COLUMNS = ("status", "result", "traceback", "children", "date_done")
_BINARY = "base64:"
_PLAIN_ID = re.compile(r"[\w-]{1,64}")

logger = logging.getLogger(__name__)


class Backend(BaseBackend):  # type: ignore[misc]
    """The result backend behind ``celeriac:////path/celeriac.db`` and ``celeriac+<URL>``.

    :param url: the embedded file's URL, or any that SQLAlchemy understands.

    .. versionadded:: 0.1
    """

    persistent = True
    supports_autoexpire = False
    supports_result_compression = True
    thread_safe = True

    def __init__(self, app: Any, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app, url=url, **kwargs)
        self.url = url or ""
        self._engine: Engine | None = None
        self._file = sqlite.file_at(sqlite.path_of(self.url)) if self.embedded else None
        self._ringer = Ringer(self._file.beside("waiters")) if self._file else None

    @property
    def embedded(self) -> bool:
        """Whether the records are in the embedded broker's file."""
        return self.url.startswith("celeriac:")

    @property
    def engine(self) -> Engine:
        """The engine of the records' database, made at first use."""
        if self._engine is None:
            from ..database import engine_for

            self._engine = engine_for(self.url)
        return self._engine

    # Storing and finding

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **_: Any,
    ) -> Any:
        now = time.time()
        children = self.current_task_children(request)
        values = {
            "task_id": task_id,
            "state": state,
            "result": self._pack(result),
            "traceback": traceback,
            "children": dumps(children) if children else None,
            "details": self._details(result, state, traceback, request),
            "finished": now if state in states.READY_STATES else None,
            "updated": now,
        }
        self._write(values)
        if self._ringer is not None and state in states.READY_STATES:
            self._ringer.ring(_bell_name(task_id))
        return result

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        try:
            row = self._read(task_id)
        except Exception as error:
            if self.exception_safe_to_retry(error):
                raise RecordsUnavailableError(str(error)) from error
            raise
        if row is None:
            return {"task_id": task_id, "status": states.PENDING, "result": None}
        meta: dict[str, Any] = {
            "task_id": task_id,
            "status": row.state,
            "result": self._unpack(row.result),
            "traceback": row.traceback,
            "children": loads(row.children) if row.children else [],
            "date_done": _iso(row.finished),
        }
        if row.details:
            meta.update(self._unpack(row.details))
        decoded: dict[str, Any] = self.meta_from_decoded(meta)
        return decoded

    def _write(self, values: dict[str, Any]) -> None:
        engine = self.engine  # its tables are made when it is
        if self._file is not None:
            with self._file.connection() as db:
                queries.store_embedded(db, values)
        else:
            with engine.begin() as connection:
                queries.store(connection, values)

    def _read(self, task_id: str) -> queries.Record | None:
        engine = self.engine
        if self._file is not None:
            with self._file.connection() as db:
                return queries.find_embedded(db, task_id)
        with engine.connect() as connection:
            return queries.find(connection, task_id)

    def _details(self, result: Any, state: str, traceback: str | None, request: Any) -> str | None:
        """What there is besides the columns: group, parent, and with ``result_extended`` more."""
        if self.app.conf.result_extended:
            meta = self._get_result_meta(result, state, traceback, request)
            details = {key: value for key, value in meta.items() if key not in _META_COLUMNS}
        else:
            found = {"group_id": "group", "parent_id": "parent_id"}
            details = {key: getattr(request, name, None) for key, name in found.items()}
            details = {key: value for key, value in details.items() if value}
        return self._pack(details) if details else None

    def _pack(self, value: Any) -> str:
        encoded: str | bytes = self.encode(value)
        if isinstance(encoded, str):
            return encoded
        return _BINARY + base64.b64encode(encoded).decode("ascii")

    def _unpack(self, text: str | None) -> Any:
        if text is not None and text.startswith(_BINARY):
            return self.decode(base64.b64decode(text[len(_BINARY) :]))
        return self.decode(text)

    def _forget(self, task_id: str) -> None:
        with self.engine.begin() as connection:
            queries.forget(connection, task_id)

    def _save_group(self, group_id: str, result: Any) -> Any:
        with self.engine.begin() as connection:
            queries.store_group(connection, group_id, self._pack(result.as_tuple()))
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        from celery.result import result_from_tuple

        with self.engine.connect() as connection:
            text = queries.find_group(connection, group_id)
        if text is None:
            return None
        return {"result": result_from_tuple(self._unpack(text), self.app)}

    def _delete_group(self, group_id: str) -> None:
        with self.engine.begin() as connection:
            queries.forget_group(connection, group_id)

    def cleanup(self) -> None:
        """Delete what is older than ``result_expires``."""
        expires = self.prepare_expires(None)
        if expires:
            with self.engine.begin() as connection:
                queries.expire(connection, time.time() - expires)

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Whether to try again while the database is out of reach: to store, but not to read.

        Storing is the end of a task, which must not be lost; somebody waits for what is read.
        """
        from ..database import OUT_OF_REACH

        if isinstance(exc, RecordsUnavailableError):
            return False
        return isinstance(exc, (StorageUnavailableError, *OUT_OF_REACH))

    def as_uri(self, include_password: bool = True) -> str:
        """The backend's URL, its password masked unless it is wanted."""
        if self.embedded:
            return self.url
        from ..database import masked

        return "celeriac+" + (self.url if include_password else masked(self.url))

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return super().__reduce__(args, {**(kwargs or {}), "url": self.url})

    # Waiting

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: Any = None,
    ) -> dict[str, Any]:
        """Wait for a task to end.

        :param timeout: seconds to wait, None for ever.
        :param interval: seconds between looks at a database that has no bell.
        :return: the task's meta, as :meth:`get_task_meta` gives it.
        :raises celery.exceptions.TimeoutError: when it did not end in time.
        """
        self._ensure_not_eager()
        bell = self._bell(task_id)
        began = time.monotonic()
        pause, warned = POLLING, False
        try:
            while True:
                meta: dict[str, Any] = self.get_task_meta(task_id)
                if meta["status"] in states.READY_STATES:
                    return meta
                waited = time.monotonic() - began
                if timeout is not None and waited >= timeout:
                    raise exceptions.TimeoutError("The operation timed out.")
                if on_interval:
                    on_interval()
                if waited > PATIENCE and not warned:
                    warned = True
                    self._warn_if_unconsumed(task_id)
                left = FALLBACK if timeout is None else min(FALLBACK, timeout - waited)
                if bell is not None:
                    bell.wait(left)
                else:
                    time.sleep(min(left, pause))
                    pause = min(interval, pause * 1.5)
        finally:
            if bell is not None:
                bell.close()

    def _bell(self, task_id: str) -> Bell | None:
        """A bell under the task's name, for whoever stores its result to ring."""
        if self._ringer is None or not AVAILABLE:
            return None
        try:
            return Bell(self._ringer.directory, _bell_name(task_id))
        except OSError:  # another thread waits for the same task, or the path is too long
            return None

    def _warn_if_unconsumed(self, task_id: str) -> None:
        if self._file is None:
            return
        try:
            with self._file.connection() as db:
                queue = broker_queries.queue_of(db, task_id)
                consumers = broker_queries.consumers(db, queue) if queue else []
        except StorageError:  # no broker in this file; and a hint must not end a wait
            return
        locks = self._file.beside("locks")
        if queue and not any(liveness.is_alive(locks, process.lock) for process in consumers):
            logger.warning(
                "Task %s waits in queue %r, which no worker consumes: start one with"
                " `flask celery worker -Q %s`",
                task_id,
                queue,
                queue,
            )


def _bell_name(task_id: str) -> str:
    """A file name for any task id a user may choose."""
    if _PLAIN_ID.fullmatch(task_id):
        return task_id
    return hashlib.sha256(task_id.encode()).hexdigest()[:32]


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, timezone.utc).isoformat()
