"""Putting and receiving messages through kombu's public API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kombu import Connection, Consumer, Message, Producer, Queue

Handle = Callable[[Message], object]


def put(connection: Connection, *bodies: Any, queue: str = "jobs", **options: Any) -> None:
    """Put messages straight into a queue, which is declared if ``declare`` says nothing else."""
    options.setdefault("declare", [Queue(queue)])
    with Producer(connection.channel()) as producer:
        for body in bodies:
            producer.publish(body, routing_key=queue, **options)
        producer.channel.close()


class Receiver:
    """A consumer of a connection that keeps what it gets."""

    def __init__(
        self,
        connection: Connection,
        *queues: str | Queue,
        prefetch: int = 0,
        no_ack: bool = False,
        handle: Handle | None = None,
    ) -> None:
        self.connection = connection
        self.messages: list[Message] = []
        self._handle = handle
        self.channel = connection.channel()
        self.consumer = Consumer(
            self.channel,
            queues=[Queue(queue) if isinstance(queue, str) else queue for queue in queues],
            on_message=self._on_message,
            no_ack=no_ack,
            prefetch_count=prefetch or None,
        )
        self.consumer.consume()

    def _on_message(self, message: Message) -> None:
        self.messages.append(message)
        if self._handle is not None:
            self._handle(message)

    @property
    def bodies(self) -> list[Any]:
        return [message.payload for message in self.messages]

    def drain(self, count: int, seconds: float = 10.0) -> Receiver:
        """Receive until there are ``count`` messages in all."""
        end = time.monotonic() + seconds
        while len(self.messages) < count:
            left = end - time.monotonic()
            assert left > 0, f"only {self.bodies} of {count}"
            try:
                self.connection.drain_events(timeout=left)
            except TimeoutError:
                pass
        return self

    def quiet(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes."""
        try:
            self.connection.drain_events(timeout=seconds)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self.channel.close()


def size(connection: Connection, queue: str = "jobs") -> int:
    """How many messages are ready, as any AMQP client would ask."""
    channel = connection.channel()
    try:
        count: int = channel.queue_declare(queue=queue, passive=True).message_count
        return count
    finally:
        channel.close()
