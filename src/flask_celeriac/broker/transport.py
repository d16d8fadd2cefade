"""kombu's transport on the embedded broker: connections, the event loop, the doorbell."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kombu.exceptions import OperationalError

from .. import sqlite
from ..backlog import backlog_at
from ..doorbell import AVAILABLE, Bell
from ..errors import StorageError, StorageUnavailableError
from . import membership, orphans, queries
from .channel import Channel
from .claims import claim_together
from .store import Store, store_at
from .topology import virtual

if TYPE_CHECKING:
    import apsw

#: Seconds between looks at the file and at other processes' lives, rung or not.
FALLBACK = 1.0
#: Seconds between looks where there is no doorbell.
POLLING = 0.05
#: Looks between two sweeps of expired messages and queues.
SWEEP_EVERY = 10

logger = logging.getLogger(__name__)


class Transport(virtual.Transport):  # type: ignore[misc]
    """The transport behind ``celeriac:////absolute/path/celeriac.db``.

    Transport options: ``durability``, ``"normal"`` (default) or ``"full"``.

    .. versionadded:: 0.1
    """

    Channel = Channel
    driver_type = driver_name = "celeriac"
    implements = virtual.Transport.implements.extend(
        asynchronous=True,
        exchange_type=frozenset(["direct", "topic", "fanout"]),
        heartbeats=False,
        batch_publish=True,
    )
    supports_batch_publish = True
    connection_errors = (StorageUnavailableError,)
    channel_errors = ()
    can_parse_url = True
    #: Whether what is delivered may be run there and then; a worker with a pool says it is not.
    runs_inline = True

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self._store: Store | None = None
        self._bell: Bell | None = None
        self._looks = 0
        self._due: float | None = None
        self._due_timer: Any = None
        #: Whether what rang may have been a message that is due before the alarm.
        self._rung = False
        self._leave_loop: Callable[[], None] | None = None
        self._loop: Any = None
        #: What no waiting will mend; it ends the worker.
        self._broken: StorageError | None = None
        self._turning = self._turn_is_due = False
        #: The turn that is due when nothing makes one necessary before.
        self._later: Any = None
        #: Seconds messages may stay in the queues this connection has met.
        self.ttls: dict[str, float | None] = {}
        #: Whether a worker's event loop drives this connection.
        self.in_event_loop = False

    @property
    def store(self) -> Store:
        """The file behind this connection, which establishing it opens."""
        if self._store is None:
            durability = self.client.transport_options.get("durability", "normal")
            self._store = store_at(sqlite.path_of(self._url()), durability)
        return self._store

    def _url(self) -> str:
        url = self.client.hostname or ""
        if "://" in url:
            return url
        # Of the second of several URLs kombu has made parts before it comes here.
        return "celeriac:////" + (self.client.virtual_host or "").lstrip("/")

    def establish_connection(self) -> Any:
        """Open the file, so that a worker learns at its start when it cannot be."""
        try:
            self.store.open()
        except StorageUnavailableError:
            raise
        except StorageError as error:  # trying again would not help: kombu hands this on at once
            raise OperationalError(str(error)) from error
        return super().establish_connection()

    def verify_connection(self, connection: Any) -> bool:
        """Whether the connection still stands: always, as nothing can cut it."""
        return True

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """The URL as it is: it holds no secret."""
        return uri

    def driver_version(self) -> str:
        """SQLite's version."""
        return sqlite.VERSION

    @property
    def is_broken(self) -> bool:
        """Whether its file has an error that no waiting will mend, which was said."""
        return self._broken is not None

    # Waking up

    def listen(self) -> None:
        """Have a doorbell that producers find."""
        if self._bell is None and AVAILABLE:
            try:
                self._bell = Bell(self.store.bells, uuid.uuid4().hex)
            except OSError as error:
                logger.warning("No doorbell, polling every %s s: %s", POLLING, error)

    def wake(self) -> None:
        """Make a thread waiting in :meth:`drain_events` look again."""
        self._look()
        self._ring_own_bell()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let a worker's event loop drive this connection."""
        self.listen()
        self.in_event_loop = True
        self._loop = loop
        backlog = backlog_at(self.store.path)
        backlog.open()
        for channel in self.channels:
            channel.claims.enter_loop()
        interval = FALLBACK if self._bell is not None else POLLING
        timer = loop.call_repeatedly(interval, self._look_around, loop)
        loop.on_tick.add(self._tick)
        bell = self._bell
        if bell is not None:
            loop.add_reader(bell.fileno(), self._on_bell, loop)

        def leave() -> None:
            self.in_event_loop = False
            self._loop = None
            for channel in self.channels:
                channel.claims.leave_loop()
            backlog.close()
            loop.on_tick.discard(self._tick)
            timer.cancel()
            if self._later is not None:
                self._later.cancel()
                self._later = None
            if bell is not None:
                loop.remove_reader(bell.fileno())

        self._leave_loop = leave
        self._look_around(loop)

    def turn_soon(self) -> None:
        """Take a turn before the event loop waits again.

        A timer, because timers come before the other callbacks of a round: what a turn delivers to
        a pool is then sent to its processes in the same round.
        """
        if self._loop is not None and not (self._turning or self._turn_is_due):
            self._turn_is_due = True
            self._loop.call_later(0, self._turn)

    def turn_later(self, seconds: float) -> None:
        """Take a turn after some seconds; the first to ask says when."""
        if self._loop is not None and self._later is None:
            self._later = self._loop.call_later(seconds, self._turn_at_last)

    def _turn_at_last(self) -> None:
        self._later = None
        self._turn()

    def _tick(self) -> None:
        """In every round of the event loop, for what no timer was set for."""
        if self._broken is not None:
            raise self._broken
        if any(channel.claims.has_work() for channel in self.channels) and self._guarded_turn():
            self._ring_own_bell()

    def _guarded_turn(self, *, waits: bool = True) -> int:
        """A turn that no timer takes: what would not get out of one does not end the event loop."""
        try:
            return self._turn(waits=waits)
        except (MemoryError, AssertionError):
            raise
        except Exception:
            logger.exception("A turn has failed")
            return 0

    def _turn(self, *, waits: bool = True) -> int:
        """Write, claim and deliver what there is; return how many messages were delivered.

        :param waits: the loop has settled by now how long it waits after this
        """
        self._turning, self._turn_is_due = True, False
        try:
            channels = self._in_turn()
            wanting = [channel.claims for channel in channels if channel.claims.wants_more()]
            also = self._set_alarm_in if self._rung else None
            delivered: int = claim_together(wanting, also) if wanting else 0
            delivered += sum(channel.claims.turn() for channel in channels)
            if self._rung:
                self._set_alarm()
            more = any(channel.claims.has_work() for channel in self.channels)
            # What was run there and then may be acknowledged in the next round.
            more = more or (delivered > 0 and any(each.claims.inline for each in channels))
        except StorageError as error:
            # Restarting the consumer would forget which tasks run; the acks are kept.
            self._complain(error)
            return 0
        finally:
            self._turning = False
        if more and waits:  # which only its own bell shortens
            self._ring_own_bell()
        return delivered

    def _in_turn(self) -> list[Any]:
        """The channels, those for remote control first: a command overtakes the tasks after it."""
        return sorted(self.channels, key=lambda channel: not channel.no_ack)

    def _complain(self, error: StorageError) -> None:
        """Say what ails the file; only what a tick raises gets out of the event loop."""
        if isinstance(error, StorageUnavailableError):
            logger.error("The broker's file cannot be used, trying again: %s", error)
        elif not self.is_broken:
            logger.error("The broker's file cannot be used, this worker ends: %s", error)
            self._broken = error
            self._ring_own_bell()

    def _ring_own_bell(self) -> None:
        if self._bell is not None:
            self._bell.nudge()

    def _on_bell(self, loop: Any) -> None:
        if self._bell is None or not self._bell.clear():
            return
        self._rung = True
        if _is_stopping() or not any(channel.claims.inline for channel in self.channels):
            self._look()
            return
        for channel in self.channels:
            channel.look()
        self._guarded_turn(waits=False)  # there is no pool to send to: no need to wait for a timer

    def _look(self) -> None:
        for channel in self.channels:
            channel.look()
        self.turn_soon()

    def _look_around(self, loop: Any) -> None:
        """Once a second: anybody dead, anything missed, anything due."""
        try:
            self._housekeep()
        except StorageError as error:
            self._complain(error)
            self._look()
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Have the event loop come back when the next waiting message is due."""
        self._rung = False
        try:
            with self.store.file.connection() as db:
                self._set_alarm_in(db)
        except StorageError:  # said by whoever writes next; the next look sets the alarm
            pass

    def _set_alarm_in(self, db: apsw.Connection) -> None:
        loop, due = self._loop, queries.next_due(db)
        self._rung = False
        if due == self._due or loop is None:
            return
        if self._due_timer is not None:
            self._due_timer.cancel()
        self._due = due
        if due is not None:
            self._due_timer = loop.call_later(max(0.0, due - time.time()), self._on_alarm, loop)

    def _on_alarm(self, loop: Any) -> None:
        self._due = self._due_timer = None
        try:
            self._promote()
        except StorageError as error:
            self._complain(error)  # the next look sets the alarm: it would be due at once
        else:
            self._set_alarm()

    def _promote(self) -> None:
        with self.store.file.transaction() as db:
            queries.promote(db, time.time())
        self._look()

    def _housekeep(self) -> None:
        store = self.store
        membership.reap(store)
        if any(channel.claims.can_claim() and channel.waiting() for channel in self.channels):
            self._look()
        if backlog_at(store.path).is_overdue():  # a message that is never acknowledged
            for channel in self.channels:
                channel.claims.flush(results=True)
        if self._looks % SWEEP_EVERY == 0:
            with store.file.transaction() as db:
                queries.sweep(db, time.time())
        self._looks += 1

    # Without an event loop: clients, and workers where there is none

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Deliver what there is, waiting for it.

        :param timeout: seconds to wait, None for ever.
        :raises TimeoutError: when nothing came.
        """
        end = None if timeout is None else time.monotonic() + timeout
        looked = 0.0
        while True:
            if time.monotonic() - looked >= FALLBACK:
                self._housekeep()
                looked = time.monotonic()
            with self.store.file.connection() as db:
                due = queries.next_due(db)
            if due is not None and due <= time.time():
                self._promote()
                continue
            if sum(channel.claims.turn() for channel in self._in_turn()):
                return
            left = FALLBACK if end is None else min(FALLBACK, end - time.monotonic())
            if left <= 0:
                raise TimeoutError
            self._wait(left if due is None else min(left, due - time.time()))

    def _wait(self, seconds: float) -> None:
        if self._bell is None:
            time.sleep(max(0.0, min(seconds, POLLING)))
            self._look()
        elif self._bell.wait(seconds):
            self._look()

    def close_connection(self, connection: Any) -> None:
        """Give back what is claimed and leave."""
        if self._leave_loop is not None:
            self._leave_loop()
            self._leave_loop = None
        super().close_connection(connection)
        if self._bell is not None:
            self._bell.close()
            self._bell = None


def _is_stopping() -> bool:
    """Whether this worker was asked to end, which its event loop does before the next timer."""
    from celery.worker import state  # costly, and there already in a worker

    asked: tuple[Any, ...] = (state.should_stop, state.should_terminate)
    return any(code is not None and code is not False for code in asked)


orphans.end_with_parent()
