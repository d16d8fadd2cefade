"""Tasks watched while they change: one look for all of them, however many watch.

Each process has one thread for each application, while anybody watches. It asks for the versions of
all watched tasks in one query a tick, and reads those that have another than before.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from .. import background, fork_gate, states
from ..broker import task_queries as queue_queries
from ..errors import UnknownTaskError
from ..records import task_queries
from ..records.task_record import as_json
from .sources import sources_of
from .tasks import find

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..celery_app import FlaskCelery
    from ..records.task_record import TaskRecord

#: Seconds between two looks; and after one that failed.
TICK = 0.25
AFTER_ERROR = 2.0
#: How many are told of changes in a second, at most: with more who watch, looks are rarer, so that
#: the process has time for other requests.
TOLD_PER_SECOND = 400
#: The version of a task that is not there.
GONE = "gone"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """A task as it was found when its version was another than before.

    :param version: a word that is the same, in every process, as long as the task is
    :param task: None if there is no such task, or no longer
    """

    version: str
    task: TaskRecord | None

    @cached_property
    def text(self) -> str:
        """The task in JSON, made once for all who watch."""
        return "null" if self.task is None else as_text(as_json(self.task))


def as_text(data: Any) -> str:
    """Data in JSON that browsers read: they know neither NaN nor Infinity, which Python writes."""
    text = json.dumps(data, default=str, skipkeys=True)
    if "NaN" in text or "Infinity" in text:
        text = json.dumps(json.loads(text, parse_constant=lambda _: None))
    return text


class Watch:
    """One who watches a task; close it.

    .. versionadded:: 0.1
    """

    def __init__(self, watcher: Watcher, task_id: str) -> None:
        self.task_id = task_id
        self._watcher = watcher
        self._latest: Change | None = None
        self._woken = threading.Event()

    def change(self, timeout: float) -> Change | None:
        """The newest change since the last call; at first, the task as it is.

        :param timeout: seconds to wait for one
        :return: None if there was none in time
        """
        if not self._woken.wait(timeout):
            return None
        self._woken.clear()
        return self._latest

    def tell(self, change: Change) -> None:
        """Hear of what was found, from the watcher."""
        if self._latest is None or change.version != self._latest.version:
            self._latest = change
            self._woken.set()

    def close(self) -> None:
        """Watch no longer."""
        self._watcher.forget(self)


class Watcher:
    """Looks after the watched tasks of one application.

    .. versionadded:: 0.1
    """

    def __init__(self, app: FlaskCelery) -> None:
        self._app = ref(app)
        self._lock = threading.Lock()
        self._hurry = threading.Event()
        self._watches: set[Watch] = set()
        self._known: dict[str, Change] = {}
        self._thread: threading.Thread | None = None

    def watch(self, task_id: str) -> Watch:
        """Begin to watch a task.

        :raises RuntimeError: the system allows no more threads
        """
        watch = Watch(self, task_id)
        with self._lock:
            self._watches.add(watch)
            if self._thread is None:
                self._thread = background.start(self._run, "celeriac-watcher")
                if self._thread is None:
                    self._watches.discard(watch)
                    raise RuntimeError("This process can start no thread to watch tasks with")
        self._hurry.set()
        return watch

    def forget(self, watch: Watch) -> None:
        """Leave out one who watched."""
        with self._lock:
            self._watches.discard(watch)
        self._hurry.set()

    def _run(self) -> None:
        while True:
            self._hurry.clear()
            with self._lock:
                watches, app = list(self._watches), self._app()
                if not watches or app is None:
                    self._thread = None
                    self._known.clear()
                    return
            pause = max(TICK, len(watches) / TOLD_PER_SECOND)
            try:
                self._look(app, watches)
            except Exception as error:  # noqa: BLE001 - a database that is away comes back
                logger.warning("Watched tasks cannot be read just now: %s", error)
                pause = AFTER_ERROR
            del app
            self._hurry.wait(pause)

    def _look(self, app: FlaskCelery, watches: list[Watch]) -> None:
        found = versions(app, {watch.task_id for watch in watches})
        known = {task_id: change for task_id, change in self._known.items() if task_id in found}
        for watch in watches:
            version = found[watch.task_id]
            change = known.get(watch.task_id)
            if change is None or change.version != version:
                task = _read(app, watch.task_id)
                if version.partition("-")[0] != (GONE if task is None else task.state):
                    continue  # it has gone on since: the next look tells of that
                change = known[watch.task_id] = Change(version, task)
            watch.tell(change)
        self._known = known


def watcher_of(app: FlaskCelery) -> Watcher:
    """The watcher of an application in this process."""
    with _lock:
        return _watchers.setdefault(app, Watcher(app))


def versions(app: FlaskCelery, ids: Collection[str]) -> dict[str, str]:
    """The version of each of some tasks, :data:`GONE` where there is none.

    :raises RecordsDisabledError: nothing is recorded
    """
    sources = sources_of(app)
    queued: dict[str, tuple[str, int | None]] = {}
    # In this order: a task is recorded before it leaves the queue.
    if sources.queue is not None:
        with sources.queue.connection() as db:
            queued = queue_queries.states_of(db, ids, time.time())
    with sources.engine.connect() as connection:
        recorded = task_queries.versions(connection, ids)
    return {each: _version(queued.get(each), recorded.get(each)) for each in ids}


def _version(queued: tuple[str, int | None] | None, recorded: tuple[str, float] | None) -> str:
    """As :func:`.reading.merged` decides: the message knows where a task is, until it has ended.

    Its claim says whose it is: a run that was cut off may go on elsewhere before anybody looks.
    """
    if recorded is None:
        return GONE if queued is None else _word(*queued)
    state, updated = recorded
    if queued is not None and (state not in states.ENDED or state == states.FAILED):
        return _word(*queued, f"{updated:.6f}")
    return _word(state, f"{updated:.6f}")


def _word(state: str, *parts: str | int | None) -> str:
    """What begins with the state, and is another one when any of the parts is."""
    return "-".join([state, *(str(part) for part in parts if part is not None)])


def _read(app: FlaskCelery, task_id: str) -> TaskRecord | None:
    try:
        return find(app, task_id)
    except UnknownTaskError:
        return None


_watchers: WeakKeyDictionary[FlaskCelery, Watcher] = WeakKeyDictionary()
_lock = threading.Lock()


def _begin_child() -> None:
    """In a forked child: the thread and those who watch are the parent's."""
    global _lock
    _lock = threading.Lock()
    _watchers.clear()


fork_gate.in_child(_begin_child)
