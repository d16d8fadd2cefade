"""kombu's Redis channel, whose messages are booked in the step that takes them off their queue."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
from typing import TYPE_CHECKING, Any

from kombu.transport import redis, virtual
from kombu.utils.json import loads

from . import bookings, member
from .publishing import Publisher

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .member import Member
    from .transport import Transport

kombu_redis: Any = redis
kombu_virtual: Any = virtual

#: Seconds after which a process that was not heard of has died.
LEASE = 20.0
#: Seconds below which a busy machine would take the living to be dead.
SHORTEST = 1
#: Messages claimed in one turn, at most.
BATCH = 64
#: Orders of queues whose keys are remembered, at most.
MANY = 64

logger = logging.getLogger(__name__)


class QoS(kombu_redis.QoS):  # type: ignore[misc]
    """Which messages are out; they were booked before they came here."""

    channel: Channel

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note that a message is out."""
        kombu_virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Delete the message with the channel's next turn."""
        self._quick_ack(delivery_tag)
        self.channel.settle(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Delete the message, or put it back at the head of its queue."""
        self._quick_ack(delivery_tag)
        self.channel.settle(delivery_tag, release=requeue)

    def restore_unacked(self, client: Any = None) -> None:
        """Put back all that is out."""
        self._flush()
        tags = list(self._delivered)
        self._delivered.clear()
        self.channel.release(tags)


class Channel(Publisher):
    """A kombu channel with claims.

    .. versionadded:: 0.1
    """

    QoS = QoS
    from_transport_options = (*Publisher.from_transport_options, "lease")
    #: Seconds; whatever the user has written.
    lease: Any = LEASE
    connection: Transport
    closed: bool

    def __init__(self, connection: Transport, **kwargs: Any) -> None:
        self._pid = os.getpid()
        #: Where this consumer is woken.
        self.bell = secrets.token_hex(8)
        self._member: Member | None = None
        self._prefix = ""
        #: The number of the next claim; it was not used if the answer to the last one was lost.
        self._number = 1
        self._unsure = False
        #: Whether there may be messages to claim.
        self.look = False
        self._known_places: dict[Any, tuple[list[str], list[str]]] = {}
        #: Queues consumed without acknowledgements.
        self.no_ack: set[str] = set()
        _check_lease(connection.client.transport_options)  # before it connects
        super().__init__(connection, **kwargs)

    # Consuming

    def join(self) -> Member:
        """This process as one that claims messages."""
        if self._member is None:
            self._member = member.join(self, self.keys)
            self._prefix = self._member.prefix()
        return self._member

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume from a queue."""
        if no_ack:
            self.no_ack.add(queue)
        elif queue not in self._fanout_queues:
            self.join()
        answer = super().basic_consume(queue, no_ack, *args, **kwargs)
        if queue in self._fanout_queues:
            if self._in_listen:
                self.subclient.psubscribe(self._get_subscribe_topics(queue))
            else:  # now: what is sent while nobody listens is lost
                self.connection.cycle._register_LISTEN(self)
        self.look = True
        return answer

    def _basic_cancel(self, consumer_tag: str) -> Any:
        queue = self._tag_to_queue.get(consumer_tag)
        answer = super()._basic_cancel(consumer_tag)
        if queue is not None and queue not in self._active_queues:
            self.no_ack.discard(queue)
            if queue not in self._fanout_queues:
                self._wait_no_more(queue)
        return answer

    def _wait_no_more(self, queue: str) -> None:
        """Be woken no more for a queue; one that is given another name each time leaves nothing."""
        with contextlib.suppress(*self.connection_errors):
            self.server.client.srem(self.keys.idle(queue), self.bell)

    def _subscribe(self) -> None:
        super()._subscribe()
        listener = self.subclient
        if listener.connection._sock is None:
            listener.connection.connect()
        self._in_listen = listener.connection
        listener.subscribe(self.keys.bell[len(self.global_keyprefix) :] + self.bell)

    def _handle_message(self, client: Any, r: Any) -> Any:
        # Woken, or listening only now, so that nobody could wake this consumer before.
        self.look = True
        self.connection.turn_soon()
        return super()._handle_message(client, r)

    def turn(self) -> int:
        """Write what was settled, claim what there is room for, deliver it.

        :return: how many messages were delivered.
        """
        me = self._member
        if me is not None and me.released:
            me.flush(self.server)
        queues = self.active_queues
        # Where nothing was left the last time, something that comes calls this consumer. What it
        # gives back for another one is not taken at once, with the acknowledgement.
        limit = self._room() if queues and self.look else 0
        acked = me.some_acked() if me is not None else []
        if not acked and not limit:
            return 0
        if len(queues) > 1:
            queues = self._queue_cycle.consume(len(queues))
        messages = self._claim(queues, limit, acked, bell=self.bell)
        self.look = (bool(limit) and len(messages) >= limit) or (not limit and self.look)
        return self._deliver(messages)

    def wants_turn(self) -> bool:
        """Whether a turn would do something."""
        me = self._member
        if me is not None and (me.acked or me.released):
            return True
        return bool(self.look and self.active_queues and self._room())

    def _room(self) -> int:
        qos = self.qos
        if not qos.can_consume():
            return 0
        if not self.connection.in_event_loop or "can_consume" in vars(qos):
            return 1  # what is asked each time, as kombu does
        free = qos.can_consume_max_estimate()
        return BATCH if free is None else min(BATCH, free)

    def _claim(
        self, queues: list[str], limit: int, acked: list[str], *, bell: str, no_ack: bool = False
    ) -> list[tuple[str, bytes]]:
        """Acknowledge and claim in one step."""
        flags = "".join("1" if no_ack or queue in self.no_ack else "0" for queue in queues)
        books = "0" in flags
        me = self.join() if books else self._member
        where, endings = self._places(tuple(queues), me.id if me is not None else "")
        while True:
            args = [
                me.id if me is not None and books else "", bell, limit, self._prefix, self._number,
                len(queues), flags, len(acked), *acked, *endings,
            ]  # fmt: skip
            self._unsure = bool(limit and books)
            live, *found = self.server.claim(keys=where, args=args)
            self._unsure = False
            if me is not None:
                me.forget(acked)
            if live or me is None:
                break
            acked = []
            me.renew(self.server)
        messages = [(tag.decode(), text) for tag, text in zip(found[::2], found[1::2], strict=True)]
        for tag, _ in messages:
            if tag and me is not None:
                me.held[tag] = None
                self._number = int(tag.rpartition(":")[2]) + 1
        return messages

    def _places(self, queues: tuple[str, ...], name: str) -> tuple[list[str], list[str]]:
        """The keys of a claim, and how its bookings end."""
        if (queues, name) not in self._known_places:
            keys, prefix = self.keys, self.global_keyprefix
            where = [keys.unacked, keys.index, keys.claims(name), keys.workers]
            for priority in self.priority_steps:
                where += [prefix + self._q_for_pri(queue, priority) for queue in queues]
            where += [keys.idle(queue) for queue in queues]
            if len(self._known_places) > MANY:
                self._known_places.clear()
            endings = [bookings.ending(queue) for queue in queues]
            self._known_places[queues, name] = (where, endings)
        return self._known_places[queues, name]

    def _deliver(self, messages: list[tuple[str, bytes]]) -> int:
        delivered = 0
        try:
            for tag, text in messages:
                delivered += 1
                message = self._read(tag, text)
                if message is not None:
                    payload, queue = message
                    self._queue_cycle.rotate(queue)
                    self.connection._deliver(payload, queue)
        except BaseException:  # a callback raised: what it did not see is for others
            self.release(tag for tag, _ in messages[delivered:] if tag)
            raise
        return delivered

    def _read(self, tag: str, text: bytes) -> tuple[dict[str, Any], str] | None:
        """The message of a booking and its queue; None if it is no message."""
        try:
            payload, _, queue = loads(text.decode())
            if tag:
                payload["properties"]["delivery_tag"] = tag
            self.Message(payload, channel=self)
        except Exception as error:  # noqa: BLE001 - whatever it is that cannot be read
            self._put_aside(tag, text, error)
            return None
        return payload, queue

    def _put_aside(self, tag: str, text: bytes, error: Exception) -> None:
        """Keep what is no message where no worker stumbles over it again."""
        queue: str = json.loads(text[text.rindex(b', "", ') + 6 : -1])
        place = self.keys.unreadable(queue)
        logger.critical(
            "What came from the queue %s is no message (%r); it is kept in the list %s of Redis",
            queue, error, place,
        )  # fmt: skip
        self.server.client.lpush(place, bookings.taken_out(text))
        if tag:
            self.settle(tag)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Get one message, or None."""
        found = self._claim([queue], 1, [], bell="", no_ack=no_ack)
        self._maybe_update_queues_expire(self._create_client(), queue)
        for tag, text in found:
            read = self._read(tag, text)
            if read is not None:
                message = self.Message(read[0], channel=self)
                if not no_ack:
                    self.qos.append(message, message.delivery_tag)
                return message
        return None

    # Settling

    def settle(self, tag: str, *, release: bool = False) -> None:
        """Note that a message has ended or goes back; a worker writes it with its next turn."""
        me = self._member
        if me is None or not tag.startswith(me.id):
            return  # of a fanout exchange: nothing is booked
        me.settle(tag, release=release)
        if self.closed:
            me.nudge()
        elif self.connection.in_event_loop:
            self.connection.turn_soon()
        else:
            me.flush(self.server)

    def release(self, tags: Iterable[str]) -> None:
        """Put messages back."""
        me = self._member
        if me is None or os.getpid() != self._pid:  # forked: the claims are the parent's
            return
        for tag in tags:
            if tag.startswith(me.id):
                me.settle(tag, release=True)
        try:
            me.flush(self.server)
        except self.connection_errors:
            me.nudge()  # it tries until it succeeds

    def _restore(self, message: Any, leftmost: bool = False) -> None:
        self.release([message.delivery_tag])

    def close(self) -> None:
        """Put back what is out, and leave."""
        if self.closed:
            return
        if os.getpid() != self._pid:
            self.drop()
            return
        for consumer_tag in list(self._consumers):
            self.basic_cancel(consumer_tag)
        if self._qos is not None:
            self._qos.restore_unacked_once()
        try:
            super().close()
        finally:
            self._leave()

    def drop(self) -> None:
        """Close without a word to the server, as the connection is lost; what runs goes on."""
        if self.closed:
            return
        self.closed = self._closing = True
        transport = self.connection
        transport.cycle.discard(self)
        if self._qos is not None:
            self._qos._on_collect.cancel()
        self._disconnect_pools()
        self._close_clients()
        self._consumers.clear()
        self._active_queues.clear()
        transport.close_channel(self)
        if os.getpid() == self._pid:
            self._leave(kept=member.running())

    def _leave(self, kept: Iterable[str] = ()) -> None:
        me = self._member
        if me is not None and self._prefix:
            prefix, self._prefix = self._prefix, ""
            me.abandon(prefix, kept=kept, unsure=self._unsure)
            me.leave()


def _check_lease(options: Mapping[str, Any]) -> None:
    lease = options.get("lease", LEASE)
    if not isinstance(lease, int | float) or lease < SHORTEST:
        raise ValueError(
            f"{lease!r} is no lease: broker_transport_options['lease'] is a number of seconds,"
            f" {SHORTEST} or more"
        )
