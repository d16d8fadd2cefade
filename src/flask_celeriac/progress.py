"""How far a running task says it is, written to its record now and then."""

from __future__ import annotations

import logging
import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import celery

from . import patience, states
from .records.description import PROGRESS, of_request, storable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

#: Seconds between two writes, at least.
PAUSE = 0.25
#: The pause after a write is this many times what the write took, at least: they cost two percent
#: of a task's time at most, also on a database that is slow or does not answer.
PAUSE_PER_WRITE = 50
_LONGEST_MESSAGE = 255

logger = logging.getLogger(__name__)


def progress(current: float, total: float | None = None, message: str | None = None) -> None:
    """Say how far the running task is; for whoever looks at it, live.

    The first call is written to the task's record at once, later ones at most four times a second;
    what was said last is written with the task's end. Does nothing outside of a task that a worker
    runs, and where no record is kept. A write that fails does not fail the task.

    :param current: how much is done, in any unit
    :param total: of how much; left out, it stays as it was said before
    :param message: what is being done, 255 characters at most; left out, it stays, too
    :raises ValueError: a number is not finite

    .. versionadded:: 0.1
    """
    current_task: Any = celery.current_task
    task = current_task._get_current_object()
    request = None if task is None else task.request_stack.top
    if request is None:
        return
    said = request.__dict__.get(PROGRESS)
    if said is None:
        run = _running_of(task)
        if run is not None:
            run.say(current, total, message)
    elif said.note(current, total, message):
        Run(task, request).flush()


def track(
    iterable: Iterable[T], total: float | None = None, message: str | None = None
) -> Iterator[T]:
    """Give the items of an iterable, and say after each how far the running task is.

    :param iterable: whatever a ``for`` loop takes
    :param total: how many items there are, by default ``len(iterable)`` where it has a length
    :param message: as :func:`progress` takes it

    .. versionadded:: 0.1
    """
    run = _running()
    if run is None:
        yield from iterable
        return
    if total is None:
        total = _length(iterable)
    run.say(0, total, message)
    for number, item in enumerate(iterable, start=1):
        yield item
        run.say(number)
    run.flush()


class Said:
    """What a run of a task said of its progress last, and when that may be written next.

    Cheap to note, as tasks say it in their innermost loops; it is made columns of when it is
    written.
    """

    __slots__ = ("current", "due", "message", "pending", "total")

    def __init__(self) -> None:
        self.current: float | None = None
        self.total: float | None = None
        self.message: str | None = None
        self.due = -math.inf
        self.pending = False

    def note(self, current: float, total: float | None = None, message: str | None = None) -> bool:
        """Note what a task says; whether it is time to write it.

        :raises ValueError: a number is not finite
        """
        current = float(current)
        if not math.isfinite(current):
            raise ValueError(f"progress is told in finite numbers, not {current}")
        if total is not None:
            total = float(total)
            if not math.isfinite(total):
                raise ValueError(f"progress is told in finite numbers, not {total}")
            self.total = total
        if message is not None:
            self.message = str(message)
        self.current = current
        self.pending = True
        return time.monotonic() >= self.due

    def columns(self) -> dict[str, Any]:
        """The columns of the record that it is about."""
        columns: dict[str, Any] = {}
        if self.current is not None:
            columns["progress_current"] = self.current
        if self.total is not None:
            columns["progress_total"] = self.total
        if self.message is not None:
            columns["progress_message"] = storable(self.message)[:_LONGEST_MESSAGE]
        return columns


class Run:
    """Writes what one run of a task says.

    :param task: the task that runs
    :param request: its request, which carries what was said to the write of the task's end
    """

    __slots__ = ("_request", "_task", "said")

    def __init__(self, task: Any, request: Any) -> None:
        self._task = task
        self._request = request
        self.said: Said = request.__dict__.setdefault(PROGRESS, Said())

    def say(self, current: float, total: float | None = None, message: str | None = None) -> None:
        """Note what was said, and write it if it is time."""
        if self.said.note(current, total, message):
            self.flush()

    def flush(self) -> None:
        """Write what was said and not written yet."""
        if not self.said.pending:
            return
        began = time.monotonic()
        try:
            with patience.short():
                seconds = self._write()
        except Exception as error:  # noqa: BLE001 - no task fails for what it says of itself
            logger.warning("The progress of task %s is not recorded: %s", self._request.id, error)
            seconds = time.monotonic() - began
        self.written(seconds)

    def written(self, seconds: float = 0.0) -> None:
        """Note that what was said has been written.

        :param seconds: how long that took
        """
        self.said.pending = False
        self.said.due = time.monotonic() + max(PAUSE, seconds * PAUSE_PER_WRITE)

    def _write(self) -> float:
        """Write what was said; the seconds that took, without what only the first one needs."""
        # Costly, and of no use to tasks that say nothing of themselves.
        from . import brief
        from .database import engine_for
        from .records import write_queries
        from .records.fence import Fence
        from .records.recording import LONGEST_ARGUMENTS
        from .urls import records_url

        app = self._task.app
        url = records_url(app)
        if url is None:
            return 0.0
        values = (
            of_request(self._request)
            | app.recorder.origin.of(self._request)
            | {
                "task_id": self._request.id,
                "state": states.RUNNING,
                "updated": time.time(),
            }
        )
        began = time.monotonic()
        if not url.startswith("celeriac:"):
            brief.run(url, lambda connection: write_queries.write_progress(connection, values))
            return time.monotonic() - began
        engine_for(url)  # which makes the tables
        began = time.monotonic()
        from . import sqlite  # with APSW, which not every program needs

        file = sqlite.file_at(sqlite.path_of(url))
        claim = Fence(app, file).claim_of(self._request)
        with file.connection() as db:
            write_queries.write_progress_embedded(db, values, claim, LONGEST_ARGUMENTS)
        return time.monotonic() - began


@contextmanager
def told(task: Any, task_id: str | None, meta: Any) -> Iterator[None]:
    """Take the progress out of what ``update_state`` stores meanwhile.

    :param task_id: as it was given to ``update_state``
    :param meta: likewise; ``current``, ``total`` and ``message`` in it are meant
    """
    found = _of_meta(meta)
    run = None if found is None else _running_of(task)
    if found is None or run is None or task_id not in (None, task.request.id):
        yield
        return
    due = run.said.note(*found)
    yield
    if _records_itself(task):
        run.written()
    elif due:
        run.flush()


def finish(task: Any, request: Any) -> None:
    """Write what a run said last, unless the record of its end does that."""
    if PROGRESS in request.__dict__ and not _records_itself(task):
        Run(task, request).flush()


def _records_itself(task: Any) -> bool:
    """Whether the task's result backend writes what was said with the states it stores."""
    from .records.recording import Recording

    return isinstance(task.backend, Recording)


def _running() -> Run | None:
    """The run that asks, None where no worker runs it."""
    current_task: Any = celery.current_task
    task = current_task._get_current_object()
    return None if task is None else _running_of(task)


def _running_of(task: Any) -> Run | None:
    request = task.request_stack.top
    if request is None or request.called_directly or request.is_eager or request.id is None:
        return None
    if getattr(task.app, "celeriac", None) is None:
        return None
    return Run(task, request)


def _of_meta(meta: Any) -> tuple[float, float | None, str | None] | None:
    """The progress in a ``meta`` of the user's own making, None where there is none."""
    try:
        found = meta["current"], meta.get("total"), meta.get("message")
        Said().note(*found)
    except (AttributeError, LookupError, TypeError, ValueError):
        return None
    return found


def _length(iterable: Any) -> int | None:
    try:
        return len(iterable)
    except TypeError:
        return None
