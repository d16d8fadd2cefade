"""The messages a channel has claimed: those held ahead, those out, and those that are settled.

One transaction writes what was settled and claims more. Where tasks are short, a worker claims a
few milliseconds of work ahead of its prefetch count, so that many tasks share a transaction; where
they are long, or one turns out to be, it holds nothing that another worker could run.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..backlog import backlog_at
from ..errors import StorageError
from . import membership, queries, run_queries
from .envelope import unpack
from .guard import Guard

if TYPE_CHECKING:
    import apsw

    from .channel import Channel

#: Messages claimed in one transaction, at most.
BATCH = 64
#: Seconds of work that may be held ahead.
HOLD = 0.01
#: Seconds an ack waits for a claim to share a transaction with, where tasks are short.
LINGER = 0.001
#: Seconds a turn may take before the event loop sees to other things.
TURN = 0.02

Claim = tuple[int, int]


class Held(NamedTuple):
    """A claimed message that was not delivered yet."""

    queue: str
    row: queries.Claimed
    token: int


class _Settled(NamedTuple):
    """How much of each list a transaction wrote."""

    acked: int
    released: int
    results: list[Claim]


class _Claimed(NamedTuple):
    """What a transaction wrote, took out and claimed for a channel."""

    settled: _Settled
    taken: deque[Held]
    held: deque[Held]


class Claims:
    """What a channel has claimed from its file.

    .. versionadded:: 0.1
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._store = channel.store
        self._backlog = backlog_at(self._store.path)
        self._member: membership.Member | None = None
        self._writing = self._backlog.lock
        self._acked: deque[Claim] = deque()
        self._released: deque[Claim] = deque()
        self._ahead: deque[Held] = deque()
        #: Those to be released whose process has died, and whose run was stopped.
        self.crashed, self.stopped = set[Claim](), set[Claim]()
        self._guard = Guard(self.relieve, self._progress)
        self._rotation = self._settled = 0
        #: When the oldest ack that is not written came.
        self._acked_since = 0.0
        #: When the last claim was made, what had been settled by then, and what a message takes.
        self._claimed_at, self._settled_before, self._pace = time.monotonic(), 0, 1.0
        #: Whether there may be messages to claim, and more of them than there was room for.
        self.look = self._postponed = False
        #: Whether a worker's event loop takes turns here, and how many tasks that has begun.
        self._in_loop = False
        self._begun: Sequence[int] = (0,)
        #: Whether what was delivered last was run there and then, as a solo worker does.
        self.inline = False

    def join(self) -> membership.Member:
        """This process as one that claims messages."""
        if self._member is None:
            self._member = membership.join(self._store)
        return self._member

    def enter_loop(self) -> None:
        """A worker's event loop takes the turns from now on."""
        from celery.worker import state  # costly, and there already in a worker

        self._in_loop, self._begun = True, state.all_total_count

    def leave_loop(self) -> None:
        """Nothing takes turns any more."""
        self._in_loop, self._begun = False, (0,)

    # Settling

    def settle(self, tag: str, *, release: bool) -> None:
        """Note that a claim ended; it is written with the next transaction."""
        if not (release or self._acked):
            self._acked_since = time.monotonic()
        (self._released if release else self._acked).append(queries.claim_of(tag))
        self._settled += 1
        if release:
            self.look = True

    def flush(self, *, results: bool = False, last: bool = False) -> None:
        """Write what was settled.

        :param results: also the results of tasks that were not acknowledged yet.
        :param last: what is released was not: those that are known to have succeeded are done.
        """
        if self._acked or self._released or (results and self._backlog):
            with self._writing:
                with self._store.file.transaction() as db:
                    settled = self._write(db, results=results, last=last)
                self._forget(settled)

    def _write(self, db: apsw.Connection, *, results: bool, last: bool) -> _Settled:
        acked, released = tuple(self._acked), tuple(self._released)
        # A result is noted before its message is acknowledged; here they come together.
        written = self._backlog.write(db, None if results else acked) if self._backlog else []
        if acked:
            queries.ack(db, acked)
        if last:
            run_queries.ack_succeeded(db, released)
        if released:
            run_queries.note(db, self.crashed, self.stopped, released)
            queries.release(db, released)
        return _Settled(len(acked), len(released), written)

    def _forget(self, settled: _Settled) -> None:
        """Drop what a transaction wrote, once it is committed."""
        for _ in range(settled.acked):
            self._acked.popleft()
        released = {self._released.popleft() for _ in range(settled.released)}
        self.crashed -= released
        self.stopped -= released
        self._backlog.written(settled.results)
        if settled.released:
            self._store.ring()

    # Taking turns

    def turn(self) -> int:
        """Write what was settled, claim what there is room for, deliver.

        :return: how many messages were delivered.
        """
        end = time.monotonic() + TURN
        delivered = self._round()
        while self._in_loop and self.has_work() and time.monotonic() < end:
            delivered += self._round()
        return delivered

    def has_work(self) -> bool:
        """Whether another turn would do something."""
        if self._ahead:
            return self._has_room()
        if self.wants_more():
            return True
        return bool(self._acked or self._released) and not self._may_wait()

    def wants_more(self) -> bool:
        """Whether the next turn claims."""
        look = self.look or (self._postponed and self._has_room())
        return not self._ahead and look and self.can_claim()

    def can_claim(self) -> bool:
        """Whether there are consumers with room for another message."""
        channel = self._channel
        return bool(channel._active_queues) and (bool(channel.no_ack) or self._has_room())

    def _has_room(self) -> bool:
        return bool(self._channel.qos.can_consume())

    def _may_wait(self) -> bool:
        """Whether what was settled is left to the next claim.

        That is near where tasks are short: when one of those that are out ends, or when the caller
        who got the result sends another. Should it not come, a timer or the guard writes.
        """
        if (
            not self._in_loop
            or self._pace >= HOLD
            or self._released
            or self._backlog
            or not self._channel._active_queues
        ):
            return False
        if self.look or self._postponed:
            return not self._has_room()
        return time.monotonic() - self._acked_since < LINGER

    def _round(self) -> int:
        if self._ahead:
            return self._deliver_held() if self._has_room() else 0
        if self.wants_more():
            return claim_together([self])
        if not self._may_wait():
            self.flush()
        elif self._acked:
            self._guard.watch()
            if not self.look:
                self._channel.turn_later(LINGER)
        return 0

    def _write_and_claim(self, db: apsw.Connection, token: int) -> _Claimed:
        settled = self._write(db, results=False, last=False)
        return _Claimed(settled, *self._claim(db, token))

    def _claim(self, db: apsw.Connection, token: int) -> tuple[deque[Held], deque[Held]]:
        """Take out what needs no acknowledgement, and claim what does, from each queue."""
        taken: deque[Held] = deque()
        held: deque[Held] = deque()
        channel = self._channel
        queues = channel._active_queues
        room = channel.qos.can_consume_max_estimate()
        left = BATCH if room is None else min(BATCH, room + (self._allowance() if room else 0))
        if left == channel.qos.prefetch_count == 1:
            token += queries.AT_ONCE
        self._rotation += 1
        self._postponed = False
        for index in range(len(queues)):
            queue = queues[(self._rotation + index) % len(queues)]
            if queue in channel.no_ack:
                limit, into = BATCH, taken
                rows = queries.take(db, queue, limit) if queries.any_ready(db, queue) else []
            else:
                limit, into = left, held
                rows = queries.claim(db, queue, limit, token, time.time()) if limit else []
                left -= len(rows)
            into.extend(Held(queue, row, token) for row in rows)
            if not limit:
                self._postponed = True
            elif len(rows) == limit:
                self.look = True
        return taken, held

    def _allowance(self) -> int:
        """How many messages may be claimed ahead, by what the last ones took."""
        now = time.monotonic()
        count = self._settled - self._settled_before
        pace = min(1.0, (now - self._claimed_at) / max(count, 1))
        self._pace = max(pace, (self._pace + pace) / 2)
        self._claimed_at, self._settled_before = now, self._settled
        return int(HOLD / self._pace) if self._in_loop else 0

    # Delivering

    def _deliver_held(self) -> int:
        if self._ahead and self._in_loop:
            self._guard.watch()
        return self._deliver(self._ahead, no_ack=False)

    def _deliver(self, held: deque[Held], *, no_ack: bool) -> int:
        if not held:
            return 0
        delivered = 0
        begun = self._begun[0]
        self.inline = False
        try:
            # A task that was run inline has ended, although Celery acknowledges it a little later.
            while held and (no_ack or self.inline or self._has_room()):
                try:
                    queue, row, token = held.popleft()
                except IndexError:  # the guard gave them back
                    break
                if not no_ack and self.join().may_have_lost(token):
                    self._released.append((row.id, token))  # unless somebody has it
                    self.look = True
                    continue
                # What was taken, nobody claims.
                message = unpack(row, queries.tag_of(row.id, 0 if no_ack else token))
                if row.claims > 1:
                    self._count(message, row.id)
                self._channel.connection._deliver(message, queue)
                delivered += 1
                before, begun = begun, self._begun[0]
                self.inline = begun != before and self._channel.connection.runs_inline
        except BaseException:  # a callback raised: what it did not see is for others
            with contextlib.suppress(StorageError):  # then it is still held here
                self.give_back()
            raise
        return delivered

    def _count(self, message: dict[str, Any], number: int) -> None:
        """Say in a message that was claimed before how many of its runs were cut off."""
        with self._store.file.connection() as db:
            said = run_queries.headers_of(db, number)
        if said and isinstance(message["headers"], dict):
            message["headers"].update(said)

    # Giving back

    def give_back(self, queue: str | None = None) -> None:
        """Make what is held ready again, as if it had never been claimed.

        :param queue: only what came from this one.
        :raises StorageError: it is still held.
        """
        held = _drain(self._ahead)
        self._ahead.extend(one for one in held if queue not in (None, one.queue))
        back = [one for one in held if queue in (None, one.queue)]
        if not back:
            return
        try:
            with self._writing, self._store.file.transaction() as db:
                queries.give_back(db, [(one.row.id, one.token) for one in back])
        except StorageError:
            self._ahead.extendleft(reversed(back))
            raise
        self.look = True
        self._store.ring()

    def relieve(self) -> None:
        """Called by the guard: nothing has moved for a while, so that nothing else should wait.

        :raises StorageError: it has to be tried again.
        """
        self._pace = 1.0
        self.flush(results=True)
        self.give_back()

    def _progress(self) -> int | None:
        """A number that changes when something moves; None when nothing waits here."""
        waits = self._ahead or self._acked or self._released or self._backlog
        return self._settled * 2 * BATCH + len(self._ahead) if waits else None

    def close(self, outstanding: list[str]) -> None:
        """Write what is settled, give back what is not, and leave."""
        self._guard.stop()
        self._released.extend(queries.claim_of(tag) for tag in outstanding)
        try:
            self.flush(results=True, last=True)
            self.give_back()
        finally:
            if self._member is not None:
                member, self._member = self._member, None
                member.leave()


def claim_together(
    these: Sequence[Claims], also: Callable[[apsw.Connection], object] | None = None
) -> int:
    """Write what was settled and claim, for channels of one connection in one transaction.

    :param these: each delivers what it got before the next one does.
    :param also: what else to do in that transaction.
    :return: how many messages were delivered.
    """
    tokens = [claims.join().next_claim() for claims in these]
    for claims in these:
        claims.look = False
    try:
        with these[0]._writing:
            with these[0]._store.file.transaction() as db:
                queries.expire(db, time.time())
                pairs = zip(these, tokens, strict=True)
                outcomes = [claims._write_and_claim(db, token) for claims, token in pairs]
                if also is not None:
                    also(db)
            for claims, outcome in zip(these, outcomes, strict=True):
                claims._ahead.extend(outcome.held)  # not before the claims are committed
                claims._forget(outcome.settled)
    except BaseException:
        for claims in these:
            claims.look = True
        raise
    for claims, outcome in zip(these, outcomes, strict=True):
        if outcome.settled.released:
            claims.look = True
    delivered = 0
    for claims, outcome in zip(these, outcomes, strict=True):
        delivered += claims._deliver(outcome.taken, no_ack=True) + claims._deliver_held()
    return delivered


def _drain(held: deque[Held]) -> list[Held]:
    """Take everything out, as another thread may be doing."""
    taken = []
    with contextlib.suppress(IndexError):
        while True:
            taken.append(held.popleft())
    return taken
