"""A prefork worker notices within a second that a pool process died."""

from __future__ import annotations

from typing import Any

from .periodic import Repeated

#: Seconds between two looks.
INTERVAL = 1.0


class PoolWatch(Repeated):
    """Worker step that looks after the pool's processes more often than Celery does.

    Celery is told when a process closes its pipes, which is a moment before the kernel says that
    it has ended; half of the time the next look is then its own, five seconds later.

    .. versionadded:: 0.1
    """

    requires = ("celery.worker.components:Hub", "celery.worker.components:Pool")

    def start(self, parent: Any) -> None:
        """Begin to look, in workers that have an event loop and processes."""
        maintain = getattr(parent.pool, "maintain_pool", None)
        if maintain is not None and parent.use_eventloop:
            self.repeat(parent, INTERVAL, maintain)
