"""A worker takes nothing from queues that are paused, also when it was started afterwards."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..urls import records_url
from .periodic import Periodic

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds between two looks; a worker that is told looks at once.
INTERVAL = 5.0

logger = logging.getLogger(__name__)


class Pauses(Periodic):
    """Worker step that leaves paused queues alone, and takes them up again when they are resumed.

    .. versionadded:: 0.1
    """

    thread_name = "celeriac-pauses"

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._worker = worker
        self._paused: set[str] = set()

    def is_needed(self, app: Any) -> bool:
        """Whether it is recorded which queues are paused."""
        return records_url(app) is not None

    def start(self, parent: Any) -> None:
        """Begin to look; what is paused now is not consumed at all."""
        if not self.is_needed(parent.app):
            return
        paused = _find(parent.app) or set()
        for queue in paused & set(parent.app.amqp.queues.consume_from):
            parent.app.amqp.queues.deselect(queue)
            self._paused.add(queue)
            logger.info("The queue %s is paused: nothing is taken from it", queue)
        parent.celeriac_look_at_pauses = self.nudge
        super().start(parent)

    def rounds(self, app: Any) -> Iterator[float]:
        """Look again and again."""
        while True:
            yield INTERVAL
            self._look(app)

    def _look(self, app: Any) -> None:
        paused, consumer = _find(app), self._worker.consumer
        if paused is None or consumer is None or consumer.task_consumer is None:
            return
        leaves = paused & set(app.amqp.queues.consume_from)
        for queue in leaves:
            self._paused.add(queue)
            consumer.call_soon(consumer.cancel_task_queue, queue)
        returns = self._paused - paused
        for queue in returns:
            self._paused.discard(queue)
            consumer.call_soon(consumer.add_task_queue, queue)
        # The embedded broker's event loop may have settled that it sleeps for a second before it
        # does what it is to do soon; whoever pauses a queue waits for that.
        wake = getattr(getattr(consumer.connection, "transport", None), "wake", None)
        if wake is not None and (leaves or returns):
            wake()


def _find(app: Any) -> set[str] | None:
    """The paused queues, None where they cannot be read just now."""
    from .. import brief
    from ..records import task_queries

    url = records_url(app)
    assert url is not None
    try:
        return set(brief.run(url, task_queries.paused))
    except Exception as error:  # noqa: BLE001 - whatever the database says, the worker goes on
        logger.warning("Which queues are paused cannot be read, trying again: %s", error)
        return None
