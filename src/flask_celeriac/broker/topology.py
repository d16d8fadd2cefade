"""The queues and bindings of a channel, which live in the file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from amqp.protocol import queue_declare_ok_t
from kombu.transport import base as _base
from kombu.transport import virtual as _virtual

from . import membership, queries

if TYPE_CHECKING:
    from .store import Store

#: kombu's stubs know only a part of its virtual transport.
base: Any = _base
virtual: Any = _virtual


class Topology(virtual.Channel):  # type: ignore[misc]
    """What of a kombu channel is about queues, not about messages.

    .. versionadded:: 0.1
    """

    store: Store
    #: Seconds messages may stay in the queues this connection has met.
    ttls: dict[str, float | None]

    def _ttl(self, queue: str) -> float | None:
        if queue not in self.ttls:
            with self.store.file.connection() as db:
                self.ttls[queue] = queries.message_ttl(db, queue)
        return self.ttls[queue]

    def prepare_queue_arguments(self, arguments: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """The queue's time limits, as AMQP names them; kombu's virtual transport drops them."""
        prepared: dict[str, Any] = base.to_rabbitmq_queue_arguments(arguments, **kwargs)
        return prepared

    def queue_declare(self, queue: str | None = None, passive: bool = False, **kwargs: Any) -> Any:
        """Declare a queue; a passive declaration only asks, and changes nothing."""
        if passive and queue and self._has_queue(queue):
            return queue_declare_ok_t(queue, self._size(queue), 0)
        return super().queue_declare(queue, passive, **kwargs)

    def _new_queue(
        self,
        queue: str,
        auto_delete: bool = False,
        arguments: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        arguments = arguments or {}
        ttl, expires = arguments.get("x-message-ttl"), arguments.get("x-expires")
        self.ttls[queue] = None if ttl is None else ttl / 1000
        with self.store.file.transaction() as db:
            queries.declare_queue(
                db,
                queue,
                message_ttl=None if ttl is None else ttl / 1000,
                expires_after=None if expires is None else expires / 1000,
                auto_delete=auto_delete,
                now=time.time(),
            )

    def _has_queue(self, queue: str, **_: Any) -> bool:
        with self.store.file.connection() as db:
            return queries.has_queue(db, queue)

    def _size(self, queue: str) -> int:
        with self.store.file.connection() as db:
            return queries.size(db, queue)

    def _purge(self, queue: str) -> int:
        with self.store.file.transaction() as db:
            return queries.purge(db, queue)

    def queue_bind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Bind, also where this connection has before: the queue may have been deleted since."""
        exchange = exchange or "amq.direct"
        self.state.binding_declare(queue, exchange, routing_key, arguments)
        kind = self.typeof(exchange)
        key, pattern, _queue = kind.prepare_bind(queue, exchange, routing_key, arguments)
        with self.store.file.transaction() as db:
            queries.bind(db, exchange, key or "", pattern or "", queue)

    def queue_unbind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the binding back, for every process."""
        exchange = exchange or "amq.direct"
        self.state.binding_delete(queue, exchange, routing_key)
        with self.store.file.transaction() as db:
            queries.unbind(db, exchange, routing_key or "", queue)

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        """The exchange's bindings, whichever process made them."""
        with self.store.file.connection() as db:
            return queries.bindings(db, exchange)

    def typeof(self, exchange: str, default: str = "direct") -> Any:
        """What kind of exchange it is: a topic exchange that others declared has patterns."""
        if exchange not in self.state.exchanges and any(row[1] for row in self.get_table(exchange)):
            default = "topic"
        return super().typeof(exchange, default)

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **_: Any
    ) -> None:
        """Delete a queue and its bindings; claimed messages stay with whoever claimed them."""
        if if_empty and self._size(queue):
            return
        if if_unused and membership.consumed(self.store, queue):
            return
        self.state.queue_bindings_delete(queue)
        with self.store.file.transaction() as db:
            queries.delete_queue(db, queue)
