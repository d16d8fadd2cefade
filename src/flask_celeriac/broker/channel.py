"""kombu's channel on the embedded broker: put messages, consume them."""

from __future__ import annotations

import os
import time
from queue import Empty
from typing import TYPE_CHECKING, Any

from .. import fork_gate
from ..capturing import HEADER
from ..errors import StorageError
from . import conditions, process_queries, queries, template
from .batch import Batch
from .claims import Claims
from .envelope import pack, unpack
from .message import Message
from .topology import Topology, virtual

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .transport import Transport


class QoS(virtual.QoS):  # type: ignore[misc]
    """Which messages are out, and how many more may be."""

    restore_at_shutdown = False
    channel: Channel

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note that a message is out."""
        self._delivered[delivery_tag] = message

    def ack(self, delivery_tag: str) -> None:
        """Delete the message with the channel's next transaction."""
        self._delivered.pop(delivery_tag, None)
        self.channel.settle(delivery_tag, release=False)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Delete the message, or make it ready again in its old place."""
        self._delivered.pop(delivery_tag, None)
        self.channel.settle(delivery_tag, release=requeue)

    def outstanding(self) -> list[str]:
        """The delivery tags neither acked nor rejected, and forget them."""
        tags = list(self._delivered)
        self._delivered.clear()
        return tags


class Channel(Topology):
    """A kombu channel whose queues are rows.

    .. versionadded:: 0.1
    """

    QoS = QoS
    Message = Message
    supports_fanout = True
    supports_batch_publish = True
    #: A batch is sent as a whole or not at all.
    says_what_a_batch_sent = True
    do_restore = False
    body_encoding = None
    from_transport_options = ()
    connection: Transport
    closed: bool

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.store = connection.store
        self.ttls = connection.ttls
        self._transport = connection
        self._pid = os.getpid()
        #: Queues consumed without acknowledgements.
        self.no_ack: set[str] = set()
        self.claims = Claims(self)
        if connection.in_event_loop:
            self.claims.enter_loop()

    # Publishing

    def _next_delivery_tag(self) -> None:
        """Tags are given out with claims, not when a message is put."""
        return

    def _put(
        self, queue: str, message: dict[str, Any], batch: Batch | None = None, **_: Any
    ) -> None:
        headers = message["headers"]
        row = pack(queue, message, self._get_message_priority(message), self._ttl(queue))
        # It may have been published already, by a relay that died before it could note that. A
        # repeated attempt has the headers of the first one, which is still there.
        if headers.get(HEADER) and not headers.get("retries"):
            row = queries.OnlyRow(*row)
        if batch is not None:
            batch.rows.append(row)
            return
        template.record(self.store, row)
        condition = conditions.of(row)
        if condition is None:
            self.store.put(row)
        else:
            self.store.put_if(row, condition)

    def create_publish_batch(self, max_size: int) -> Batch:
        """What ``kombu.Producer.batch()`` collects in."""
        return Batch(self, max_size)

    def _put_fanout(
        self, exchange: str, message: dict[str, Any], routing_key: str, **_: Any
    ) -> None:
        priority = self._get_message_priority(message)
        with self.store.file.transaction() as db:
            queues = {queue for _, _, queue in queries.bindings(db, exchange)}
            queries.put_many(
                db, [pack(q, message, priority, queries.message_ttl(db, q)) for q in queues]
            )
        self.store.ring()

    # Consuming

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Any, consumer_tag: str, **kwargs: Any
    ) -> None:
        """Consume from a queue, known to every process from now on."""
        super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        if no_ack:
            self.no_ack.add(queue)
        member = self.claims.join()
        with self.store.file.transaction() as db:
            process_queries.add_consumer(db, member.id, consumer_tag, queue)
        self._transport.listen()
        self.look()

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop consuming; an auto-delete queue goes with its last consumer."""
        queue = self._tag_to_queue.get(consumer_tag)
        super().basic_cancel(consumer_tag)
        if queue is None:
            return
        self.no_ack.discard(queue)
        if fork_gate.is_inside():  # in a signal handler, above a transaction: close() will do it
            return
        try:
            self.claims.give_back(queue)
            member = self.claims.join()
            with self.store.file.transaction() as db:
                process_queries.remove_consumer(db, member.id, consumer_tag, queue)
        except StorageError:
            if not (self.closed or self._transport.is_broken):  # else it leaves in any case
                raise

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        """One message, for ``basic_get``."""
        token = self.claims.join().next_claim()
        now = time.time()
        with self.store.file.transaction() as db:
            queries.promote(db, now)
            queries.expire(db, now)
            rows = queries.claim(db, queue, 1, token, now)
        if not rows:
            raise Empty
        return unpack(rows[0], queries.tag_of(rows[0].id, token))

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Get one message, or None."""
        message = super().basic_get(queue, no_ack=no_ack, **kwargs)
        if message is not None and no_ack:
            self.settle(message.delivery_tag, release=False)
        return message

    def settle(self, delivery_tag: str, *, release: bool) -> None:
        """Note that a claim ended; a worker's event loop writes it with its next transaction."""
        self.claims.settle(delivery_tag, release=release)
        if self.closed or not self._transport.in_event_loop:
            self.claims.flush()
            self._transport.wake()
        else:
            self._transport.turn_soon()

    def note_crash(self, delivery_tag: str) -> None:
        """The process that ran this task has died; it is given back next."""
        self.claims.crashed.add(queries.claim_of(delivery_tag))

    def note_stopped(self, delivery_tag: str) -> None:
        """The run of this task was stopped; it is given back next."""
        self.claims.stopped.add(queries.claim_of(delivery_tag))

    def put_off(self, delivery_tag: str, due: float, headers: dict[str, Any]) -> bool:
        """Have a claimed message wait in its place until a moment, as if it had not been claimed.

        :param headers: what is added to those it has; None takes one away
        :return: whether the claim was still held
        """
        return self.store.put_off(delivery_tag, due, headers)

    def turn_later(self, seconds: float) -> None:
        """Take a turn when some time has passed, if none comes before that."""
        self._transport.turn_later(seconds)

    def look(self) -> None:
        """There may be messages to claim."""
        self.claims.look = True

    def waiting(self) -> bool:
        """Whether a consumed queue has a ready message."""
        with self.store.file.connection() as db:
            return any(queries.any_ready(db, queue) for queue in self._active_queues)

    def waiting_messages(self, limit: int, task_ids: Sequence[str] | None = None) -> list[Any]:
        """Messages of the consumed queues whose time has not come, to look at: none is claimed.

        :param limit: how many at most, those that are due first.
        :param task_ids: only those of these tasks, None for all.
        """
        with self.store.file.connection() as db:
            rows = queries.waiting(db, sorted(self._active_queues), limit, task_ids)
        return [self.message_to_python(unpack(row, queries.tag_of(row.id, 0))) for row in rows]

    def close(self) -> None:
        """Write what is settled, give back what is not, and leave."""
        if self.closed:
            return
        if os.getpid() != self._pid:  # forked: the claims are the parent's
            self.closed = True
            return
        super().close()
        try:
            self.claims.close(self.qos.outstanding())
        except StorageError:
            if not self._transport.is_broken:  # else it was said, and ends the worker
                raise
