"""A process that claims messages: how others know that it lives, and what it still has to say.

It outlives its connections. A task goes on when one breaks, and its acknowledgement waits here
until the server is back, or the process ends. A thread renews the lease, because a solo worker's
event loop stands still while a task runs; the same thread writes what no connection is there for,
and looks after the processes that did not renew theirs.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import sys
import threading
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any

from redis import exceptions

from ... import fork_gate
from ...liveness import since_boot, uptime
from . import bookings, scripts
from .scripts import Keys, Scripts

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Parts of a lease between two renewals, each a look at the others.
BEATS = 8
#: Seconds between two renewals of bookings, at most.
RENEWAL = 60.0
#: Seconds that closing a connection, and the end of the process, wait for what is left to say.
FAREWELL = 5.0

logger = logging.getLogger(__name__)
_members: dict[Any, Member] = {}
_lock = threading.Lock()


def _begin_child() -> None:
    """In a forked child: it claims nothing yet."""
    global _lock
    _lock = threading.Lock()
    _members.clear()


fork_gate.in_child(_begin_child)


class Member:
    """This process, among those that claim messages from a broker.

    :param pool: connections of its own.
    :param lease: seconds after which it is taken to be dead when it did not renew that.
    :param visibility: seconds after which a stock worker takes what was not acknowledged.

    .. versionadded:: 0.1
    """

    def __init__(self, pool: Any, client: Any, keys: Keys, lease: float, visibility: float) -> None:
        self.id = secrets.token_hex(8)
        self.keys = keys
        self._server = Scripts(client)
        self._pool = pool
        self.lease = lease
        self._renewal = min(RENEWAL, visibility / 4)
        self._beat_every = min(lease / BEATS, max(self._renewal, lease / BEATS / 10))
        self._renewed = 0.0
        self._until = 0.0
        self._users = 0
        self._channels = itertools.count(1)
        #: What it has, acknowledged, and gives back; as dicts, which threads may change.
        self.held: dict[str, None] = {}
        self.acked: dict[str, None] = {}
        self.released: dict[str, None] = {}
        #: Prefixes of channels that are gone and may have claimed what they never saw.
        self._unsure: dict[str, None] = {}
        #: Whether others were given what it had, and it has not drawn the consequence.
        self.lost = False
        #: Whether they may have been: it was not learned how a renewal ended.
        self._doubt = False
        self._suspects: dict[str, float] = {}
        self._renewing = threading.Lock()
        self._awake = threading.Event()
        #: Set when all was said, or could not be.
        self._tried = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._live, name="celeriac-lease", daemon=True)

    def start(self) -> None:
        """Keep the lease, until nobody claims and all is said."""
        self._thread.start()
        # After kombu's own at 1, by which a connection that nobody closed puts back what is out.
        self._at_exit = Finalize(None, self.end, exitpriority=0)

    def prefix(self) -> str:
        """What a new channel's tags begin with."""
        return f"{self.id}:{next(self._channels)}:"

    # What channels say

    def settle(self, tag: str, *, release: bool = False) -> None:
        """Note that a message has ended or goes back; it is written with the next turn."""
        if not release:
            self.acked[tag] = None
            self.released.pop(tag, None)
        elif tag not in self.acked:
            self.released[tag] = None
        # Last: a message that another thread finds nowhere is taken to be unknown.
        self.held.pop(tag, None)

    def some_acked(self) -> list[str]:
        """Tags to acknowledge; to be :meth:`forgotten <forget>` when that was done."""
        return list(self.acked)[: scripts.CHUNK] if self.acked else []

    def forget(self, tags: Iterable[str]) -> None:
        """Drop what was acknowledged."""
        for tag in tags:
            self.acked.pop(tag, None)

    def flush(self, server: Scripts | None = None) -> None:
        """Write what was settled."""
        server = server or self._server
        keys = self.keys
        while acked := self.some_acked():
            server.ack(keys=[keys.unacked, keys.index, keys.claims(self.id)], args=acked)
            self.forget(acked)
        if self.released:
            released = list(self.released)
            bookings.restore(server, keys, released, self.id)
            for tag in released:
                self.released.pop(tag, None)

    def nudge(self) -> None:
        """Have the thread write what was settled, as no channel may come to do it."""
        self._awake.set()

    def abandon(self, prefix: str, *, kept: Iterable[str] = (), unsure: bool = False) -> None:
        """A channel is gone: give back what it had.

        :param prefix: that of its tags.
        :param kept: what runs, and is acknowledged when it has ended.
        :param unsure: whether it may have claimed what it was never told of.
        """
        running = set(kept)
        for tag in [tag for tag in list(self.held) if tag.startswith(prefix)]:
            if tag not in running:
                self.settle(tag, release=True)
        if unsure:
            self._unsure[prefix] = None
        self.nudge()

    # Living

    def check(self, server: Scripts) -> None:
        """Renew the lease if it has run out, and see what was lost with it."""
        if self._until < since_boot():
            self.renew(server)  # which waits for the thread, if that has just begun to

    def renew(self, server: Scripts | None = None) -> list[str]:
        """Renew the lease; return who did not."""
        with self._renewing:
            return self._renew(server or self._server)

    def _renew(self, server: Scripts) -> list[str]:
        now, keys = since_boot(), self.keys
        bookings_too = now - self._renewed >= self._renewal
        doubt, self._doubt = self._doubt, True
        alive, *overdue = server.renew(
            keys=[keys.workers, keys.index, keys.claims(self.id)],
            args=[self.id, self.lease, int(bookings_too)],
        )
        if bookings_too:
            self._renewed = now
        if doubt or not alive or self._until < since_boot():
            self._look_what_is_left(server)
        self._doubt = False
        self._until = now + self.lease
        return [name.decode() for name in overdue]

    def _look_what_is_left(self, server: Scripts) -> None:
        held = list(self.held)
        if not held:
            return
        with server.client.pipeline(transaction=False) as pipe:
            for tag in held:
                pipe.hexists(self.keys.unacked, tag)
            found = pipe.execute()
        # What was acknowledged meanwhile is not there either.
        gone = [
            tag for tag, there in zip(held, found, strict=True) if not there and tag in self.held
        ]
        for tag in gone:
            self.held.pop(tag, None)
        if gone:
            self.lost = True
            logger.warning(
                "This process was stopped for longer than its lease of %g s: %d message(s) that it"
                " had were given to others",
                self.lease,
                len(gone),
            )

    def _live(self) -> None:
        beat, failed = self._beat_every, False
        while not self._has_left():
            self._awake.wait(min(beat, 1.0) if failed else beat)
            self._awake.clear()
            try:
                self._beat()
                failed = False
            except (exceptions.RedisError, OSError) as error:
                self._suspects.clear()
                if not failed:
                    logger.warning("The lease of this worker cannot be renewed now: %s", error)
                failed = True
                self._tried.set()
            except Exception:
                # This thread has to live: without a lease what this worker runs is given to others.
                logger.exception("The lease of this worker was not renewed, trying again")
                failed = True
                self._tried.set()
        self._part()
        self._tried.set()

    def _has_left(self) -> bool:
        with _lock:
            if not self._ending and (self._users or self._has_to_say()):
                if self._users:
                    self._tried.set()  # another channel has come, who leaves need not wait
                return False
            for key in [key for key, member in _members.items() if member is self]:
                del _members[key]
            return True

    def _has_to_say(self) -> bool:
        """Whether the server has to hear of a message."""
        # In this order: what has left one of these is in a later one by then.
        return bool(self.held or self._unsure or self.acked or self.released)

    def _beat(self) -> None:
        overdue = self.renew()
        self._settle_what_is_unsure()
        if self.acked or self.released:
            self.flush()
        self._look_after(overdue)

    def _settle_what_is_unsure(self) -> None:
        """Give back what channels that are gone have claimed and were never told of."""
        unsure = tuple(self._unsure)
        if not unsure:
            return
        tags = self._server.client.hkeys(self.keys.claims(self.id))
        known = {*self.held, *self.acked}
        for tag in (tag.decode() for tag in tags):
            if tag.startswith(unsure) and tag not in known:
                self.released[tag] = None
        for prefix in unsure:
            self._unsure.pop(prefix, None)

    def _look_after(self, overdue: list[str]) -> None:
        """Give back what dead processes had.

        A second look comes before that: when the server itself was away, all are overdue at once,
        and those that live have said so by then.
        """
        now = uptime()  # not what it slept through: in that nobody had time to say so
        self._suspects = {name: self._suspects.get(name, now) for name in overdue}
        for name, since in list(self._suspects.items()):
            if name != self.id and now - since >= self.lease / 4:
                try:
                    recover(self._server, self.keys, name)
                except exceptions.ResponseError as error:  # some of it: the others have to go on
                    logger.error("Redis refuses tasks of a worker that died: %s", error)
                del self._suspects[name]

    def _part(self) -> None:
        """Say goodbye; at the end of the process, with all that is left to say."""
        try:
            self._settle_what_is_unsure()
            self.flush()
            keys = self.keys
            self._server.leave(keys=[keys.workers, keys.claims(self.id)], args=[self.id])
        except (exceptions.RedisError, OSError) as error:
            logger.debug("This worker could not say goodbye to Redis: %s", error)
        finally:
            self._pool.disconnect()
            self._at_exit.cancel()

    def leave(self) -> None:
        """One channel less claims; after the last one, the lease goes when all was said.

        It waits until the thread has tried to say it, and leaves the rest to the thread.
        """
        with _lock:
            self._tried.clear()
            self._users -= 1
            if self._users or self.held:
                return
        self.nudge()
        if self._thread is not threading.current_thread():
            self._tried.wait(FAREWELL)

    def end(self) -> None:
        """Say what is left to say now or never, as the process ends."""
        self._ending = True
        self.nudge()
        self._thread.join(FAREWELL)
        if self.acked:
            logger.warning(
                "Redis was not told that %d task(s) have ended, which will run again",
                len(self.acked),
            )


def join(channel: Any, keys: Keys) -> Member:
    """Make this process one that claims messages from a broker; pair it with ``leave()``."""
    params = channel.pool.connection_kwargs
    place = tuple(str(params.get(name)) for name in ("host", "port", "path", "db", "username"))
    key = (os.getpid(), place, keys, channel.lease)
    with _lock:
        member = _members.get(key)
        if member is None:
            pool = channel._get_pool()
            client = channel.plain_client(pool)
            member = Member(pool, client, keys, channel.lease, float(channel.visibility_timeout))
            try:
                member.renew()
                member.start()  # it waits for the lock
            except BaseException:
                pool.disconnect()
                raise
            _members[key] = member
        member._users += 1
    return member


def recover(server: Scripts, keys: Keys, name: str) -> int:
    """Give back what a dead process had, and count that in the messages.

    :return: how many messages that were.
    """
    tags = server.client.hkeys(keys.claims(name))
    count = bookings.restore(server, keys, [tag.decode() for tag in tags], name, dead=True)
    if count > 0:
        logger.warning("%d task(s) of a worker that died will run again", count)
    return count


def running() -> set[str]:
    """The delivery tags of the tasks that a worker in this process runs."""
    state = sys.modules.get("celery.worker.state")
    if state is None:
        return set()
    return {request.message.delivery_tag for request in tuple(state.active_requests)}
