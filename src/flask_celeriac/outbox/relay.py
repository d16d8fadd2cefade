"""Publishes what is committed and not sent yet.

A row is taken for a time, published, and deleted. Whoever dies in between leaves it to the next,
who publishes it again under the same task id.
"""

from __future__ import annotations

import logging
import math
import random
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kombu import exceptions
from kombu.exceptions import OperationalError

from .. import fork_gate
from ..database import OUT_OF_REACH
from . import queries
from .message import Message
from .queries import Row

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

#: Seconds for which a row is its owner's alone.
LEASE = 20.0
#: Seconds of it that have to be left for a row to be published.
MARGIN = 8.0
#: Rows that are taken at a time.
BATCH = 100
#: Failures of its own after which a message is given up, and the seconds before the next try: they
#: double each time, up to the longest.
ATTEMPTS = 10
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 600.0
_LONGEST_ERROR = 500
#: What Redis says of itself, not of a message.
_OF_THE_SERVER = frozenset(
    {
        "OOM",
        "READONLY",
        "LOADING",
        "BUSY",
        "MASTERDOWN",
        "NOREPLICAS",
        "MISCONF",
        "CLUSTERDOWN",
    }
)
#: Where the text of an error says it: at the beginning, or from within a script before Redis 7.
_CODE = re.compile(r"(?:^|: -)([A-Z]+) ")

#: Its stubs do not name it.
BatchPublishError: Any = exceptions.BatchPublishError  # type: ignore[attr-defined]

logger = logging.getLogger(__name__)

#: Opens a producer, and says with which options each message is published.
OpenProducer = Callable[[], AbstractContextManager[tuple[Any, dict[str, Any]]]]


@dataclass
class Turn:
    """What became of some rows.

    :param failed: messages that could not be published for a reason of their own
    :param given_up: those of them that are not tried again
    :param out_of_reach: what the broker said, if it was; nothing of that is a message's fault
    """

    taken: int = 0
    published: int = 0
    failed: int = 0
    given_up: int = 0
    out_of_reach: str | None = None

    def and_then(self, other: Turn) -> Turn:
        """Both in one."""
        return Turn(
            self.taken + other.taken,
            self.published + other.published,
            self.failed + other.failed,
            self.given_up + other.given_up,
            other.out_of_reach,
        )


@dataclass
class _Work:
    """The rows of one owner on their way."""

    owner: str
    until: float
    rows: list[tuple[Row, Message]]
    published: list[int] = field(default_factory=list)
    failed: dict[int, tuple[Row, str]] = field(default_factory=dict)


class Relay:
    """The way from one database to the broker.

    :param engine: of the database with the outbox
    :param app: the Celery application whose messages these are
    :param open_producer: see :data:`OpenProducer`
    :param announce: called with messages before they are published
    :param bury: called with each message that is given up, and why
    :param alone: whether nobody else can reach the database, as one in memory

    .. versionadded:: 0.1
    """

    def __init__(
        self,
        engine: Engine,
        app: Any,
        open_producer: OpenProducer,
        announce: Callable[[Sequence[Message]], None] = lambda messages: None,
        bury: Callable[[Row, str], None] = lambda row, reason: None,
        *,
        alone: bool = False,
    ) -> None:
        self.engine = engine
        self._alone = alone
        self._app = app
        self._open_producer = open_producer
        self._announce = announce
        self._bury = bury
        #: Published rows that could not be deleted yet, by their owners.
        self._settled: dict[str, list[int]] = {}

    @property
    def is_owing(self) -> bool:
        """Whether rows that were published are still to be deleted."""
        return bool(self._settled)

    def turn(self, limit: int = BATCH) -> Turn:
        """Publish the oldest rows that nobody is at."""
        self._settle()
        now = time.time()
        with self._reading() as connection:
            if not queries.any_due(connection, now):
                return Turn()
        owner, until = uuid.uuid4().hex, now + LEASE
        with self._writing() as connection:
            rows = queries.claim(connection, owner, now, until, limit)
        return self._deliver(rows, owner, until)

    def send(self, ids: Sequence[int], owner: str) -> Turn:
        """Publish rows that have been somebody's since they were written.

        Those that are not there, as their transaction was rolled back after all, or that may be
        another's soon, are left alone.
        """
        total = Turn()
        for at in range(0, len(ids), BATCH):
            self._settle()
            now = time.time()
            after = 0.0 if self._alone else now + MARGIN
            with self._reading() as connection:
                rows = queries.owned(connection, ids[at : at + BATCH], owner, after)
            until = min((row.due or now for row in rows), default=now)
            until = math.inf if self._alone else until
            total = total.and_then(self._deliver(rows, owner, until))
            if total.out_of_reach:
                break
        return total

    def _deliver(self, rows: Sequence[Row], owner: str, until: float) -> Turn:
        if not rows:
            return Turn()
        work = _Work(owner, until, [])
        for row in rows:
            try:
                work.rows.append((row, Message.unpack(row.message, self._app.amqp.queues)))
            except Exception as error:  # noqa: BLE001 - whatever is wrong, it is this row's alone
                work.failed[row.id] = row, _words(error)
        reason = None
        try:
            if work.rows:
                self._publish(work)
        except Exception as error:
            if not _is_out_of_reach(self._app, error):
                self._close(work, _words(error))
                raise
            reason = _words(error)
        self._close(work, reason)
        dead = sum(row.attempts + 1 >= ATTEMPTS for row, _ in work.failed.values())
        return Turn(len(rows), len(work.published), len(work.failed), dead, reason)

    def _publish(self, work: _Work) -> None:
        self._tell_of_chords(work)
        rows = [pair for pair in work.rows if pair[0].id not in work.failed]
        self._announce([message for _, message in rows])
        if _is_late(work):  # the result store or the records took their time
            return
        if len(rows) > 1 and self._publish_together(work, rows):
            return
        for row, message in rows:
            if _is_late(work):
                return
            self._publish_one(work, row, message)

    def _publish_together(self, work: _Work, rows: Sequence[tuple[Row, Message]]) -> bool:
        """Publish all rows at once; False where none was, as that cannot be or one is at fault.

        :raises BatchPublishError: nobody knows which of them were
        """
        try:
            with self._open_producer() as (producer, options):
                if not _says_what_it_sent(producer):
                    return False
                with producer.batch(max_size=sys.maxsize):  # before its end nothing is sent
                    for row, message in rows:
                        message.publish(producer, row.created, **options)
                work.published += [row.id for row, _ in rows]
        except Exception as error:
            refused: dict[int, Exception] | None = getattr(error, "refused", None)
            if refused is not None:
                self._sort(work, rows, refused)
            elif _is_out_of_reach(self._app, error):
                raise
            else:
                return bool(work.published)
        return True

    def _sort(
        self, work: _Work, rows: Sequence[tuple[Row, Message]], refused: dict[int, Exception]
    ) -> None:
        """Note what became of messages of which the broker has refused some.

        :param refused: why, by their places among the rows
        """
        of_the_server: Exception | None = None
        for place, (row, _) in enumerate(rows):
            error = refused.get(place)
            if error is None:
                work.published.append(row.id)
            elif _is_out_of_reach(self._app, error):
                of_the_server = error
            else:
                work.failed[row.id] = row, _words(error)
        if of_the_server is not None:
            raise of_the_server

    def _publish_one(self, work: _Work, row: Row, message: Message) -> None:
        try:
            with self._open_producer() as (producer, options):
                message.publish(producer, row.created, **options)
        except Exception as error:
            if _is_out_of_reach(self._app, error):
                raise
            work.failed[row.id] = row, _words(error)
        else:
            work.published.append(row.id)

    def _tell_of_chords(self, work: _Work) -> None:
        """Have the result store know of chords before their members run."""
        told: set[str] = set()
        for row, message in work.rows:
            for group_id, noted in message.chords.items():
                if group_id in told:
                    continue
                try:
                    _begin_chord(self._app, group_id, **noted)
                except Exception as error:
                    if _is_out_of_reach(self._app, error):
                        raise
                    work.failed[row.id] = row, _words(error)
                else:
                    told.add(group_id)

    def _close(self, work: _Work, reason: str | None) -> None:
        """Write what became of the rows."""
        done = {*work.published, *work.failed}
        left = [row.id for row, _ in work.rows if row.id not in done]
        if work.published:
            self._settled.setdefault(work.owner, []).extend(work.published)
        now = time.time()
        with self._writing() as connection:
            for owner, ids in self._settled.items():
                queries.remove(connection, ids, owner)
            if left:
                queries.release(connection, left, work.owner, now, reason)
            for row, error in work.failed.values():
                queries.postpone(connection, row.id, work.owner, _again(row, now), error)
        self._settled.clear()
        for row, error in work.failed.values():
            self._complain(row, error)

    def _settle(self) -> None:
        """Delete what was published, before anything else is."""
        if self._settled:
            with self._writing() as connection:
                for owner, ids in self._settled.items():
                    queries.remove(connection, ids, owner)
            self._settled.clear()

    def _complain(self, row: Row, error: str) -> None:
        name = row.task or "A message"
        if row.attempts + 1 < ATTEMPTS:
            logger.warning("%s[%s] cannot be published: %s", name, row.task_id, error)
            return
        logger.error(
            "%s[%s] is given up after %d attempts to publish it, and kept: %s. `flask celery relay"
            " --dead` lists such messages.", name, row.task_id, ATTEMPTS, error,
        )  # fmt: skip
        self._bury(row, error)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with fork_gate.held(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        engine = self.engine
        if engine.dialect.name in ("mysql", "mariadb"):
            # Else what is taken also locks the gaps into which others insert.
            engine = engine.execution_options(isolation_level="READ COMMITTED")
        with fork_gate.held(), engine.begin() as connection:
            yield connection


def _is_late(work: _Work) -> bool:
    """Whether rows may be another's before they are published."""
    return time.time() > work.until - MARGIN


def _says_what_it_sent(producer: Any) -> bool:
    """Whether the broker takes many messages at once, all or saying which of them it refuses."""
    if not producer.supports_batch_publish:
        return False
    return bool(getattr(producer.channel, "says_what_a_batch_sent", False))


def _begin_chord(app: Any, group_id: str, results: Any = None, size: int | None = None) -> None:
    if results is not None:
        from celery.result import result_from_tuple

        members = [result_from_tuple(member, app) for member in results]
        app.backend.apply_chord((group_id, members), None)
    if size is not None:
        app.backend.set_chord_size(group_id, size)


def _again(row: Row, now: float) -> float | None:
    """When a message is tried again that failed once more, None never."""
    if row.attempts + 1 >= ATTEMPTS:
        return None
    pause = min(FIRST_PAUSE * 2.0**row.attempts, LONGEST_PAUSE)
    return now + pause * random.uniform(0.8, 1.2)


def _is_out_of_reach(app: Any, error: BaseException) -> bool:
    """Whether the broker or the result store is at fault, not the message."""
    if isinstance(error, KeyError):  # kombu counts it among Redis's errors of connection
        return False
    if isinstance(error, (OperationalError, BatchPublishError, OSError, *OUT_OF_REACH)):
        return True
    if isinstance(error, app.pool.connection.connection_errors):
        return True
    # redis-py takes the codes that it knows out of the text.
    codes = {getattr(error, "status_code", None), *_CODE.findall(str(error))}
    if codes & _OF_THE_SERVER:
        return True
    return error.__cause__ is not None and _is_out_of_reach(app, error.__cause__)


def _words(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}"[:_LONGEST_ERROR]
