"""kombu's channel on the embedded broker: put, claim, ack and release rows."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from queue import Empty
from typing import TYPE_CHECKING, Any

from amqp.protocol import queue_declare_ok_t
from kombu.transport import base as _base
from kombu.transport import virtual as _virtual

from ..errors import StorageError
from . import membership, queries, template
from .batch import Batch
from .envelope import pack, unpack

if TYPE_CHECKING:
    import apsw

    from .transport import Transport

#: kombu's stubs know only a part of its virtual transport.
base: Any = _base
virtual: Any = _virtual
#: Messages claimed in one transaction where no prefetch count limits it.
BATCH = 64

Claim = tuple[int, int]


class QoS(virtual.QoS):  # type: ignore[misc]
    """Which messages are out, and how many more may be."""

    restore_at_shutdown = False
    channel: Channel

    def ack(self, delivery_tag: str) -> None:
        """Delete the message with the channel's next transaction."""
        self._quick_ack(delivery_tag)
        self.channel.settle(delivery_tag, release=False)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Delete the message, or make it ready again in its old place."""
        self._quick_ack(delivery_tag)
        self.channel.settle(delivery_tag, release=requeue)

    def outstanding(self) -> list[str]:
        """The delivery tags neither acked nor rejected, and forget them."""
        self._flush()
        tags = list(self._delivered)
        self._delivered.clear()
        return tags


class Channel(virtual.Channel):  # type: ignore[misc]
    """A kombu channel whose queues are rows.

    .. versionadded:: 0.1
    """

    QoS = QoS
    supports_fanout = True
    supports_batch_publish = True
    do_restore = False
    body_encoding = None
    from_transport_options = ()
    connection: Transport
    closed: bool

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.store = connection.store
        self.file = self.store.file
        self._transport = connection
        self._pid = os.getpid()
        self._member: membership.Member | None = None
        self._no_ack: set[str] = set()
        self._settling = threading.Lock()
        self._acked: deque[Claim] = deque()
        self._released: deque[Claim] = deque()
        self._turn = 0
        #: Whether there may be messages to claim.
        self.look = False

    # Publishing

    def _next_delivery_tag(self) -> None:
        """Tags are given out with claims, not when a message is put."""
        return

    def _put(
        self, queue: str, message: dict[str, Any], batch: Batch | None = None, **_: Any
    ) -> None:
        row = pack(queue, message, self._get_message_priority(message), self._ttl(queue))
        if batch is not None:
            batch.rows.append(row)
            return
        template.record(self.store, row)
        self.store.put(row)

    def create_publish_batch(self, max_size: int) -> Batch:
        """What ``kombu.Producer.batch()`` collects in."""
        return Batch(self, max_size)

    def _put_fanout(
        self, exchange: str, message: dict[str, Any], routing_key: str, **_: Any
    ) -> None:
        priority = self._get_message_priority(message)
        with self.file.transaction() as db:
            queues = {queue for _, _, queue in queries.bindings(db, exchange)}
            queries.put_many(
                db, [pack(q, message, priority, queries.message_ttl(db, q)) for q in queues]
            )
        self.store.ring()

    def _ttl(self, queue: str) -> float | None:
        ttls = self._transport.ttls
        if queue not in ttls:
            with self.file.connection() as db:
                ttls[queue] = queries.message_ttl(db, queue)
        return ttls[queue]

    # Queues and bindings, which live in the file

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
        self._transport.ttls[queue] = None if ttl is None else ttl / 1000
        with self.file.transaction() as db:
            queries.declare_queue(
                db,
                queue,
                message_ttl=None if ttl is None else ttl / 1000,
                expires_after=None if expires is None else expires / 1000,
                auto_delete=auto_delete,
                now=time.time(),
            )

    def _has_queue(self, queue: str, **_: Any) -> bool:
        with self.file.connection() as db:
            return queries.has_queue(db, queue)

    def _size(self, queue: str) -> int:
        with self.file.connection() as db:
            return queries.size(db, queue)

    def _purge(self, queue: str) -> int:
        with self.file.transaction() as db:
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
        with self.file.transaction() as db:
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
        self.state.binding_delete(queue, exchange, routing_key)
        with self.file.transaction() as db:
            queries.unbind(db, exchange or "", routing_key or "", queue)

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        """The exchange's bindings, whichever process made them."""
        with self.file.connection() as db:
            return queries.bindings(db, exchange)

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **_: Any
    ) -> None:
        """Delete a queue and its bindings; claimed messages stay with whoever claimed them."""
        if if_empty and self._size(queue):
            return
        if if_unused and membership.consumed(self.store, queue):
            return
        self.state.queue_bindings_delete(queue)
        with self.file.transaction() as db:
            queries.delete_queue(db, queue)

    # Consuming

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **kwargs: Any
    ) -> None:
        """Consume from a queue, known to every process from now on."""
        super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        if no_ack:
            self._no_ack.add(queue)
        member = self._join()
        with self.file.transaction() as db:
            queries.add_consumer(db, member.id, consumer_tag, queue)
        self._transport.listen()
        self.look = True

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop consuming; an auto-delete queue goes with its last consumer."""
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        if queue is not None and self._member is not None:
            self._no_ack.discard(queue)
            with self.file.transaction() as db:
                queries.remove_consumer(db, self._member.id, consumer_tag, queue)

    def _join(self) -> membership.Member:
        if self._member is None:
            self._member = membership.join(self.store)
        return self._member

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        """One message, for ``basic_get``."""
        token = self._join().next_claim()
        now = time.time()
        with self.file.transaction() as db:
            queries.promote(db, now)
            queries.expire(db, now)
            rows = queries.claim(db, queue, 1, token)
        if not rows:
            raise Empty
        return unpack(rows[0], _tag(rows[0].id, token))

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Get one message, or None."""
        message = super().basic_get(queue, no_ack=no_ack, **kwargs)
        if message is not None and no_ack:
            self.settle(message.delivery_tag, release=False)
        return message

    def settle(self, delivery_tag: str, *, release: bool) -> None:
        """Note that a claim ended; a worker's event loop writes it with its next transaction."""
        (self._released if release else self._acked).append(_claim(delivery_tag))
        if self.closed or not self._transport.in_event_loop:
            self.flush()
            self._transport.wake()
        elif release:
            self.look = True

    def flush(self) -> None:
        """Write the acks and releases that are due."""
        if self._acked or self._released:
            with self._settling:
                with self.file.transaction() as db:
                    settled = self._write_settled(db)
                self._forget(settled)

    def _write_settled(self, db: apsw.Connection) -> tuple[int, int]:
        acked, released = tuple(self._acked), tuple(self._released)
        if acked:
            queries.ack(db, acked)
        if released:
            queries.release(db, released)
        return len(acked), len(released)

    def _forget(self, settled: tuple[int, int]) -> None:
        """Drop what a transaction wrote, once it is committed."""
        for claims, count in zip((self._acked, self._released), settled, strict=True):
            for _ in range(count):
                claims.popleft()
        if settled[1]:
            self.store.ring()

    def turn(self) -> int:
        """One transaction: write what was settled, claim what there is room for; then deliver.

        :return: how many messages were delivered.
        """
        if not (self.look and self.can_claim()):
            self.flush()
            return 0
        token = self._join().next_claim()
        self.look = False
        try:
            with self._settling:
                with self.file.transaction() as db:
                    settled = self._write_settled(db)
                    claimed = self._claim_all(db, token)
                self._forget(settled)
        except BaseException:
            self.look = True
            raise
        if settled[1]:
            self.look = True
        return self._deliver(claimed, token)

    def _claim_all(
        self, db: apsw.Connection, token: int
    ) -> list[tuple[str, list[queries.Claimed]]]:
        found = []
        room = self.qos.can_consume_max_estimate()
        queues = self._active_queues
        if any(self._transport.ttls.get(queue) for queue in queues):
            queries.expire(db, time.time())
        self._turn += 1
        for index in range(len(queues)):
            queue = queues[(self._turn + index) % len(queues)]
            if queue in self._no_ack:
                limit = BATCH
                rows = queries.take(db, queue, limit)
            else:
                limit = BATCH if room is None else min(room, BATCH)
                rows = queries.claim(db, queue, limit, token) if limit else []
                room = None if room is None else room - len(rows)
            if rows:
                found.append((queue, rows))
            if len(rows) == limit:
                self.look = True
        return found

    def _deliver(self, claimed: list[tuple[str, list[queries.Claimed]]], token: int) -> int:
        pending = deque((queue, row) for queue, rows in claimed for row in rows)
        delivered = 0
        try:
            while pending:
                queue, row = pending.popleft()
                self.connection._deliver(unpack(row, _tag(row.id, token)), queue)
                delivered += 1
        finally:
            if pending:  # a callback raised: what it did not see is ready again
                self._released.extend((row.id, token) for _, row in pending)
                self.look = True
                with contextlib.suppress(StorageError):  # then with the next transaction
                    self.flush()
        return delivered

    def can_claim(self) -> bool:
        """Whether there are consumers with room for another message."""
        return bool(self._active_queues) and (bool(self._no_ack) or self.qos.can_consume())

    def waiting(self) -> bool:
        """Whether a consumed queue has a ready message."""
        with self.file.connection() as db:
            return any(queries.any_ready(db, queue) for queue in self._active_queues)

    def close(self) -> None:
        """Write what is settled, give back what is not, and leave."""
        if self.closed:
            return
        if os.getpid() != self._pid:  # forked: the claims are the parent's
            self.closed = True
            return
        super().close()
        for tag in self.qos.outstanding():
            self._released.append(_claim(tag))
        try:
            self.flush()
        finally:
            if self._member is not None:
                member, self._member = self._member, None
                member.leave()


def _tag(message: int, claim: int) -> str:
    return f"{message}.{claim}"


def _claim(tag: str) -> Claim:
    message, _, claim = tag.partition(".")
    return int(message), int(claim)
