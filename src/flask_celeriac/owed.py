"""What has to be recorded and could not be is written later, by a thread of this process.

That is how a task ended, and that it was not sent: without it the task would be run again. The
thread is there while there is anything to write. What a process still owes when it ends, it tries
to write once more.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from . import background, brief, fork_gate

#: Seconds between two tries.
PAUSE = 5.0
#: How much is kept, at most; its arguments and errors are in memory.
MOST = 500
#: Seconds for which the end of a process waits for a write that has begun.
FAREWELL = 5.0

logger = logging.getLogger(__name__)


class Write(NamedTuple):
    """Something to be written about a task.

    :param work: does it on a connection, though more may have been recorded meanwhile
    """

    url: str
    task_id: str
    work: Callable[[Any], object]


class Owed:
    """What this process has to write later, in order.

    .. versionadded:: 0.1
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin with nothing, as a forked child must: what waits is its parent's to write."""
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._waiting: deque[Write] = deque()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, write: Write) -> bool:
        """Keep something until it can be written; False where too much is kept already."""
        with self._changed:
            if len(self._waiting) >= MOST:
                logger.warning("Task %s is not recorded: %d others wait", write.task_id, MOST)
                return False
            self._waiting.append(write)
            if self._thread is None or not self._thread.is_alive():
                # None where the process ends, and settles then.
                self._thread = background.start(self._run, "celeriac-owed")
        return True

    def settle(self) -> bool:
        """Write what can be written now; whether nothing is left."""
        if not self._writing.acquire(timeout=FAREWELL):
            return False
        try:
            away: set[str] = set()
            for _ in range(len(self._waiting)):
                write = self._waiting[0]
                if write.url not in away and not _written(write):
                    away.add(write.url)
                with self._changed:
                    self._waiting.popleft()
                    if write.url in away:
                        self._waiting.append(write)
        finally:
            self._writing.release()
        return not self._waiting

    def _run(self) -> None:
        me = threading.current_thread()
        while True:
            time.sleep(PAUSE)
            self.settle()
            with self._changed:
                if self._waiting:
                    continue
                if self._thread is me:
                    self._thread = None
                return


def _written(write: Write) -> bool:
    """Whether something need not be tried again."""
    try:
        brief.run(write.url, write.work)
    except Exception as error:  # noqa: BLE001 - whatever the database says
        if brief.may_pass(error):
            return False
        logger.warning("Task %s cannot be recorded: %s", write.task_id, error)
    return True


#: That of this process.
owed = Owed()
fork_gate.in_child(owed.reset)


@atexit.register
def _farewell() -> None:
    if owed:
        owed.settle()
