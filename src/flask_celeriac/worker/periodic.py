"""What a worker does now and then: by its event loop's timer, or in a thread beside its tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from celery import bootsteps

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery

#: Seconds for which a worker that stops waits for the round that is being done.
FAREWELL = 5.0


class Repeated(bootsteps.StartStopStep):
    """Worker step that has something done again and again by the worker's timer.

    .. versionadded:: 0.1
    """

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._entry: Any = None

    def repeat(self, parent: Any, seconds: float, what: Callable[..., object], *args: Any) -> None:
        """Begin to do it."""
        self._entry = parent.timer.call_repeatedly(seconds, what, args)

    def stop(self, parent: Any) -> None:
        """Do it no more."""
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None


class Periodic(bootsteps.StartStopStep):
    """Worker step that does one round after the other in a thread of its own.

    What asks a database belongs here: one that does not answer would stop the event loop.

    .. versionadded:: 0.1
    """

    # After all that forks: a process that is forked later finds the databases in use.
    requires = (
        "celery.worker.components:Timer",
        "celery.worker.components:Pool",
        "celery.worker.components:Beat",
    )
    #: The name of the thread.
    thread_name: str

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        #: Set when the worker stops.
        self.over = threading.Event()
        self._nudged = threading.Event()
        self._thread: threading.Thread | None = None

    def is_needed(self, app: FlaskCelery) -> bool:
        """Whether there is anything to do in this worker."""
        raise NotImplementedError

    def rounds(self, app: FlaskCelery) -> Iterator[float]:
        """Do one round after the other, and yield the seconds until the next one each time."""
        raise NotImplementedError

    def start(self, parent: Any) -> None:
        """Begin, where there is anything to do."""
        if not self.is_needed(parent.app):
            return
        self.over.clear()
        self._thread = threading.Thread(
            target=self._run, args=(parent.app,), name=self.thread_name, daemon=True
        )
        self._thread.start()

    def nudge(self) -> None:
        """Have the next round done at once."""
        self._nudged.set()

    def stop(self, parent: Any) -> None:
        """End after the round that is being done."""
        self.over.set()
        self.nudge()
        if self._thread is not None:
            self._thread.join(timeout=FAREWELL)
            self._thread = None

    terminate = stop

    def _run(self, app: FlaskCelery) -> None:
        for pause in self.rounds(app):
            self._nudged.wait(pause)
            self._nudged.clear()
            if self.over.is_set():
                return
