"""What ``kombu.Producer.batch()`` collects: messages that go into the file in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .channel import Channel
    from .queries import Row


class Batch:
    """Rows that wait for :meth:`flush`.

    :param max_size: rows that one transaction may have.

    .. versionadded:: 0.1
    """

    def __init__(self, channel: Channel, max_size: int) -> None:
        self.channel = channel
        self.max_size = max_size
        self.rows: list[Row] = []

    def publish(self, message: dict[str, Any], **options: Any) -> None:
        """Collect a message."""
        if len(self.rows) >= self.max_size:
            self.flush()
        self.channel.basic_publish(message, batch=self, **options)

    def flush(self) -> None:
        """Put what was collected.

        :raises StorageError: it is not in the queue, and is kept.
        """
        if self.rows:
            self.channel.store.put_many(self.rows)
            self.rows = []

    def discard(self) -> None:
        """Forget what was collected."""
        self.rows = []

    close = discard
