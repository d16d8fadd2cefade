"""kombu's Redis transport with claims: connections, the event loop, being woken."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from queue import Empty
from typing import Any

from kombu.transport import redis
from kombu.utils.eventio import ERR, READ
from redis import exceptions

from .channel import Channel

kombu_redis: Any = redis

#: Seconds between looks at the queues, woken or not: a stock producer wakes nobody.
FALLBACK = 1.0
#: The same for who waits for an answer, such as that of a stock worker to ``inspect``.
ASKING = 0.1
#: Seconds a turn may take before the event loop sees to other things.
TURN = 0.01

logger = logging.getLogger(__name__)


class Poller(kombu_redis.MultiChannelPoller):  # type: ignore[misc]
    """Listens on each channel's connection for fanout messages, and for its bell."""

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self._transport = transport

    def on_poll_start(self) -> None:
        """Have every channel that consumes listen."""
        for channel in self._channels:
            if channel._active_queues:
                self._register_LISTEN(channel)

    def on_readable(self, fileno: int) -> bool:
        """Read what came; return whether a message was delivered."""
        found = self._fd_to_chan.get(fileno)
        return bool(found and found[0].handlers["LISTEN"]())

    def get(self, callback: Any, timeout: float | None = None) -> None:
        """Deliver what there is, or wait for it.

        :raises Empty: when nothing came.
        """
        self._in_protected_read = True
        try:
            self.maybe_refresh_binding_expiry()
            self.on_poll_start()
            if self._transport.turns():
                return
            wait = self._transport.patience()
            if timeout is not None:
                wait = max(0.0, min(timeout, wait))
            came = False
            for fileno, event in self.poller.poll(wait) or ():
                if event & READ:
                    came = self.on_readable(fileno) or came
                elif event & ERR:
                    self.handle_event(fileno, event)
            if self._transport.turns() or came:
                return
            self.maybe_restore_messages()
            raise Empty
        finally:
            self._in_protected_read = False
            while self.after_read:
                self.after_read.pop()()


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    """The transport behind ``redis://``, ``rediss://`` and ``redis+socket://``.

    Transport options besides kombu's: ``lease``, seconds after which a process that was not heard
    of has died (20); ``claims``, False for kombu's own transport.

    .. versionadded:: 0.1
    """

    Channel = Channel

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.cycle = Poller(self)
        #: Whether a worker's event loop drives this connection.
        self.in_event_loop = False
        self._loop: Any = None
        self._turn_is_due = False
        #: How many tasks the event loop's worker has begun.
        self._begun: Callable[[], int] = int
        self._leave_loop: Callable[[], None] | None = None
        self._bells: tuple[socket.socket, socket.socket] | None = None
        #: When to try again what the server refused.
        self._refused_until = 0.0

    # Turns

    def turns(self) -> int:
        """Let every channel write, claim and deliver; return how many messages came."""
        if time.monotonic() < self._refused_until:
            return 0
        delivered = 0
        try:
            # The one that claims writes what others have to.
            for channel in sorted(self.channels, key=lambda channel: not channel.active_queues):
                delivered += channel.turn()
        except exceptions.ResponseError as error:
            # Such as a full memory or disk. What runs goes on, and nothing is forgotten.
            if not self.in_event_loop:
                raise
            self._refused_until = time.monotonic() + FALLBACK
            logger.error("Redis refuses what this worker does, trying again: %s", error)
        return delivered

    def look(self) -> None:
        """There may be messages to claim."""
        for channel in self.channels:
            channel.look = True

    def patience(self) -> float:
        """Seconds to wait for a bell before the next look."""
        return ASKING if any(channel.no_ack for channel in self.channels) else FALLBACK

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver what there is, waiting for it.

        :param timeout: seconds to wait, None for ever.
        :raises TimeoutError: when nothing came.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            self._draw_consequences()
            self.look()
            try:
                self.cycle.get(self._deliver, None if end is None else end - time.monotonic())
            except Empty:
                if end is not None and time.monotonic() >= end:
                    self.look()
                    if not self.turns():
                        raise TimeoutError from None
                    return
            else:
                return

    # The event loop

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let a worker's event loop drive this connection."""
        from celery.worker import state  # costly, and there already in a worker

        super().register_with_event_loop(connection, loop)
        self._begun = lambda: int(state.all_total_count[0])
        self.in_event_loop = True
        self._bells = ours, theirs = socket.socketpair()
        for end in self._bells:
            end.setblocking(False)
        self._loop = loop
        timer = loop.call_repeatedly(FALLBACK, self._look_around)
        loop.on_tick.add(self._tick)
        loop.add_reader(ours.fileno(), self._on_own_bell)

        def leave() -> None:
            self.in_event_loop = False
            self._loop = None
            timer.cancel()
            loop.on_tick.discard(self._tick)
            loop.remove_reader(ours.fileno())
            self._bells = None
            ours.close()
            theirs.close()

        self._leave_loop = leave

    def turn_soon(self) -> None:
        """Take a turn before the event loop waits again, and before it sees to the pool.

        What a turn delivers to a pool is then sent to its processes in the same round.
        """
        if self._loop is not None and not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        self._draw_consequences()
        end, begun = time.monotonic() + TURN, self._begun()
        while self._has_work() and time.monotonic() < end:
            self.turns()
        if self._begun() != begun:
            # A solo worker has run a task there and then; the loop has its acknowledgement.
            self._ring_own_bell()

    def _tick(self) -> None:
        """In every round of the event loop, for what nobody asked a turn for."""
        if self._has_work():
            self._turn()
            # The loop has settled how long it waits by now; only this shortens that.
            self._ring_own_bell()

    def _look_around(self) -> None:
        self.look()
        self._turn()

    def _has_work(self) -> bool:
        if time.monotonic() < self._refused_until:
            return False
        return any(channel.wants_turn() for channel in self.channels)

    def _draw_consequences(self) -> None:
        """Start nothing of what others were given while this process stood still.

        :raises redis.exceptions.ConnectionError: which makes Celery forget what it holds.
        """
        for channel in self.channels:
            me = channel._member
            if me is None:
                continue
            me.check(channel.server)
            if me.lost:
                me.lost = False
                raise exceptions.ConnectionError(
                    f"this worker was stopped for longer than its lease of {me.lease:g} s"
                )

    def _ring_own_bell(self) -> None:
        if self._bells is not None:
            try:
                self._bells[1].send(b"\0")
            except BlockingIOError:  # it has been rung often enough
                pass

    def _on_own_bell(self) -> None:
        if self._bells is not None:
            self._bells[0].recv(4096)

    # Ends

    def close_connection(self, connection: Any) -> None:
        """Put back what is out, and leave."""
        self._leave()
        super().close_connection(connection)

    def _collect(self, connection: Any) -> None:
        """Leave without a word, as the connection is lost; what runs goes on."""
        self._leave()
        for channel in {*self._avail_channels, *self.channels}:
            channel.drop()
        self._avail_channels.clear()
        self.cycle.close()

    def _leave(self) -> None:
        if self._leave_loop is not None:
            leave, self._leave_loop = self._leave_loop, None
            leave()
