"""A worker's event loop, without a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kombu import Connection, Message
from kombu.asynchronous import Hub

from tests.broker.messages import Receiver


class Loop:
    """An event loop that drives a consumer, as a worker's does."""

    def __init__(self, connection: Connection, handle: Callable[[Message], Any], prefetch: int = 1):
        self.hub = Hub()
        self.transport = connection.transport
        self.receiver = Receiver(connection, "jobs", prefetch=prefetch, handle=handle)
        self.transport.register_with_event_loop(connection.connection, self.hub)

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end
            self.hub.run_once()

    def close(self) -> None:
        self.receiver.close()
        self.receiver.connection.close()
        self.hub.close()
