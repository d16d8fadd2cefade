"""The thread of this process that sends what has just been committed.

It does what a relay would do some seconds later. If the process dies first, a relay does.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from .. import background, fork_gate

#: Seconds without work after which the thread ends; the next work begins another.
IDLE = 10.0
#: Seconds by which the thread lets whoever has committed go on with its request, whose time it
#: would take otherwise: Python runs one of them. What is committed meanwhile goes along.
HEAD_START = 0.001
#: Seconds that the end of the process waits for what was committed just before.
FAREWELL = 2.0
#: How much may wait here. What is more than that is left to the relays.
LONGEST = 10_000

logger = logging.getLogger(__name__)


class Courier:
    """Runs jobs one after the other in a thread that is there while there are any.

    .. versionadded:: 0.1
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin with nothing, as a forked child must: what waits is its parent's to do."""
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._busy = False

    def do(self, job: Callable[[], None]) -> bool:
        """Have something done soon; False where too much waits already, or the process ends."""
        with self._changed:
            if len(self._jobs) >= LONGEST:
                return False
            self._jobs.append(job)
            if self._thread is None or not self._thread.is_alive():
                self._thread = background.start(self._run, "celeriac-courier")
                if self._thread is None:  # the process ends: the relay does it
                    self._jobs.pop()
                    return False
            self._changed.notify_all()
        return True

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is left to do; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._jobs or self._busy), seconds)

    def _run(self) -> None:
        me = threading.current_thread()
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                rested = not self._jobs
                if not self._changed.wait_for(lambda: self._jobs, IDLE):
                    if self._thread is me:
                        self._thread = None
                    return
            if rested:
                time.sleep(HEAD_START)
            with self._changed:
                job = self._jobs.popleft()
                self._busy = True
            try:
                job()
            except Exception:
                logger.exception("What was committed is left to the relay")
            del job  # which keeps an application and an engine


#: That of this process.
courier = Courier()
fork_gate.in_child(courier.reset)


@atexit.register
def _farewell() -> None:
    courier.wait(FAREWELL)
