"""Celery's result backend on the records, in the embedded file or a database of the user's."""

from __future__ import annotations

import base64
import logging
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celery import states
from celery.backends import base
from kombu.utils.json import loads

from .. import capturing, plain_json, sqlite
from ..backlog import backlog_at
from ..doorbell import Ringer, bell_name
from ..errors import RecordsUnavailableError, StorageError, StorageUnavailableError
from . import chords, description, queries
from .chords import Chords
from .ends import Ends, Successes
from .fence import Fence
from .origin import Origin
from .recording import Recording
from .reply_bell import ReplyBell
from .unreadable import UnreadableError
from .waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Engine

#: Celery's stubs know only a part of its backends.
BaseBackend: Any = base.BaseBackend
_BINARY = "base64:"
#: Records that are looked at in one transaction of :meth:`Backend.cleanup`.
EXPIRE_BATCH = 1000

logger = logging.getLogger(__name__)


class Backend(Recording, Waiting, BaseBackend):  # type: ignore[misc]
    """The result backend behind ``celeriac:////path/celeriac.db`` and ``celeriac+<URL>``.

    :param url: the embedded file's URL, or any that SQLAlchemy understands.

    .. versionadded:: 0.1
    """

    persistent = True
    supports_autoexpire = False
    supports_result_compression = True

    def __init__(self, app: Any, url: str | None = None, **kwargs: Any) -> None:
        BaseBackend.__init__(self, app, url=url, **kwargs)
        self.thread_safe = True  # whatever `result_backend_thread_safe` says
        self.url = url or ""
        self._engine: Engine | None = None
        self._file = sqlite.file_at(sqlite.path_of(self.url)) if self.embedded else None
        self._chords = Chords(self)
        self._fence = Fence(app, self._file)
        self._origin = Origin(app, self.url)
        self._ends, self._successes = Ends(self, self._fence), Successes(self, self._fence)
        self._ringer = Ringer(self._file.beside("waiters")) if self._file else None
        self.reply_bell = ReplyBell(app, self._ringer.directory) if self._ringer else None
        self._backlog = backlog_at(self._file.path) if self._file else None

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

    # Finding

    def ring(self, *names: Any) -> None:
        """Wake whoever waits for tasks.

        :param names: of the tasks, and where they are replied to, as far as that is known
        """
        if self._ringer is not None:
            # The sender's name came with the message, as whatever it was.
            these = [bell_name(name) for name in names if name and isinstance(name, str)]
            self._ringer.ring_those(these)

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        with self._readable():
            row = self._read(task_id)
        if row is None:
            return {"task_id": task_id, "status": states.PENDING, "result": None}
        meta: dict[str, Any] = {
            "task_id": task_id,
            "status": row.status or states.PENDING,
            "result": self.unpack(row.result),
            "traceback": row.traceback,
            "children": loads(row.children) if row.children else [],
            "date_done": _iso(row.finished),
        }
        if row.details:
            meta.update(self.unpack(row.details))
        decoded: dict[str, Any] = self.meta_from_decoded(meta)
        return decoded

    def task_result_exists(self, task_id: str) -> bool:
        """Whether a task is recorded, or, on the embedded broker, queued or running.

        What Celery's ``AsyncResult(...).exists()`` asks.
        """
        # In this order: a task is recorded before it leaves the queue.
        return bool(self._file and in_queue(self._file, task_id)) or self.has_record(task_id)

    def has_record(self, task_id: str) -> bool:
        """Whether anything is recorded of a task, or it is in the body of a chord about to start.

        :raises RecordsUnavailableError: the database cannot be reached just now
        """
        with self._readable():
            row = self._read(task_id)
            if row is not None and row.status is not None:
                return True
            with self.engine.connect() as connection:
                return queries.in_due_chord(connection, task_id)

    def has_message_or_record(self, task_id: str) -> bool:
        """Whether a task is recorded, or, on the embedded broker, was sent and has not ended."""
        if self._file is not None:
            with suppress(StorageError), self._file.connection() as db:
                if queries.has_message(db, task_id):
                    return True
        with self._readable():
            row = self._read(task_id)
            return row is not None and row.status is not None

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if self.exception_safe_to_retry(error):
                raise UnreadableError(str(error)) from error
            raise

    def _read(self, task_id: str) -> queries.Record | None:
        engine = self.engine
        if self._file is not None:
            with self._file.connection() as db:
                return queries.find_embedded(db, task_id)
        with engine.connect() as connection:
            return queries.find(connection, task_id)

    def encode(self, data: Any) -> str | bytes:
        """A value in the configured serializer and compression."""
        if self.compression:
            compressed: bytes = super().encode(data)
            return compressed
        return plain_json.serialize(data, self.serializer)[2]

    def decode(self, payload: Any) -> Any:
        """The value that :meth:`encode` was given.

        :raises kombu.exceptions.ContentDisallowed: it is in none of the formats that are accepted
        """
        if (
            payload
            and self.content_type == plain_json.CONTENT_TYPE
            and plain_json.CONTENT_TYPE in (self.accept or ())
            and plain_json.is_plain(payload)
        ):
            try:
                return plain_json.decode(payload)
            except (ValueError, RecursionError):  # which kombu says in its words
                pass
        return super().decode(payload)

    def pack(self, value: Any) -> str:
        """A value as text, in the configured serializer and compression."""
        encoded = self.encode(value)
        if isinstance(encoded, str):
            return encoded
        return _BINARY + base64.b64encode(encoded).decode("ascii")

    def unpack(self, text: str | None) -> Any:
        """The value that :meth:`pack` was given."""
        if text is not None and text.startswith(_BINARY):
            return self.decode(base64.b64decode(text[len(_BINARY) :]))
        return self.decode(text)

    def ready_among(self, task_ids: Sequence[str]) -> list[str]:
        """Those of some tasks that have ended, as far as that is recorded or remembered."""
        found = [task_id for task_id in task_ids if task_id in self._cache]

        def look() -> list[str]:
            with self._readable(), self.engine.connect() as connection:
                return queries.among(connection, task_ids, states.READY_STATES)

        return list(dict.fromkeys([*found, *self._ensure_retryable(look)]))

    def _forget(self, task_id: str) -> None:
        with self.engine.begin() as connection:
            queries.forget(connection, task_id)

    def _save_group(self, group_id: str, result: Any) -> Any:
        with self.engine.begin() as connection:
            queries.store_group(connection, group_id, self.pack(result.as_tuple()))
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        from celery.result import result_from_tuple

        with self.engine.connect() as connection:
            text = queries.find_group(connection, group_id)
        if text is None:
            return None
        return {"result": result_from_tuple(self.unpack(text), self.app)}

    def _delete_group(self, group_id: str) -> None:
        with self.engine.begin() as connection:
            queries.forget_group(connection, group_id)

    def cleanup(self) -> None:
        """Forget results older than ``result_expires``, and chords that will never end.

        The records of the tasks stay, for as long as ``CELERIAC_KEEP_SUCCEEDED`` and
        ``CELERIAC_KEEP_OTHERS`` say.
        """
        expires = self.prepare_expires(None)
        if expires:
            self._expire(time.time() - expires)
        unfinished = self.app.conf.result_chord_expires
        with self.engine.begin() as connection:
            self._chords.expire(
                connection, expires, chords.PATIENCE if unfinished is None else unfinished
            )

    def _expire(self, before: float) -> None:
        """Some at a time, so that nobody who writes waits for long."""
        with self.engine.begin() as connection:
            queries.expire_groups(connection, before)
            lowest, highest = queries.span(connection)
        for first in range(lowest, highest + 1, EXPIRE_BATCH):
            with self.engine.begin() as connection:
                queries.expire(connection, before, first, first + EXPIRE_BATCH - 1)

    # Chords

    def apply_chord(self, header_result_args: Any, body: Any, **_: Any) -> None:
        """Celery is about to send the members of a chord."""
        self.ensure_chords_allowed()
        if capturing.note_chord(header_result_args[0], header_result_args[1]):
            return
        self._ensure_retryable(self._chords.begin, header_result_args[0], header_result_args[1])

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Celery has counted the members of a chord."""
        if capturing.note_size(group_id, chord_size):
            return
        self._ensure_retryable(self._chords.resize, group_id, size=chord_size)

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """A member of a chord adds another."""
        self._ensure_retryable(self._chords.resize, chord_id, added=1)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_: Any) -> None:
        """A member of a chord has ended."""
        if self._fence.is_lost(self._fence.claim_of(request), request.id):
            return
        if getattr(request, description.SUPERSEDED, False):
            return

        def stored() -> str:
            return self.pack(self.encode_result(result, state))

        self._ensure_retryable(self._chords.returned, request, state, stored)

    def sweep_chords(self) -> None:
        """Send the bodies of chords that a killed worker left behind; workers call it."""
        self._chords.sweep()

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
        return BaseBackend.__reduce__(self, args, {**(kwargs or {}), "url": self.url})


def in_queue(file: sqlite.File, task_id: str) -> bool | None:
    """Whether a task is in the embedded broker's file, None where nobody can tell."""
    try:
        with file.connection() as db:
            return queries.in_queue(db, task_id)
    except StorageError:  # no broker has been in this file
        return None


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, timezone.utc).isoformat()
