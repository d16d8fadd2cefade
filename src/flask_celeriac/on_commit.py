"""Tasks that are sent if and only if a transaction of the application's own session is committed.

Celery makes their messages as ever, with a producer that keeps them; each becomes a row that is
written through the session's own connection. The database does the rest.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from . import capturing, fork_gate, sending
from .errors import OutboxError
from .outbox import queries, transactions
from .outbox.courier import courier
from .outbox.producer import CapturingProducer, capture_for
from .outbox.relay import LEASE, Relay, Turn
from .records.recording import LONGEST_ARGUMENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session

    from .celery_app import FlaskCelery
    from .outbox.message import Message, Packed

T = TypeVar("T")

_LONGEST_NAME = 255
#: What says over which connection a message goes.
_OWN_WAYS = ("producer", "publisher", "connection")
#: How many databases are remembered in which something is still to be deleted.
ROUTES = 100

logger = logging.getLogger(__name__)


class OnCommit:
    """The outbox of one application.

    :param app: the application's Celery
    :param session: what ``Celeriac(session=...)`` was given
    :param always: whether plain calls go through it, too, while the session is in a transaction

    .. versionadded:: 0.1
    """

    def __init__(self, app: FlaskCelery, session: Any, *, always: bool) -> None:
        self._app = app
        self._session = session
        #: Whether plain calls go this way, too.
        self.always = always
        #: Where the table is. An engine may be there for one request, as one with options is.
        self._made: WeakSet[Engine] = WeakSet()
        self.reset()
        _all.add(self)
        transactions.watch(session)

    def reset(self) -> None:
        """Begin with nothing, as a forked child must: what waits is its parent's to send."""
        self._owner = uuid.uuid4().hex
        #: Those by which something is to be sent or to be deleted.
        self._routes: dict[Engine, _Route] = {}
        #: Whether the broker was out of reach the last time, which was told.
        self._is_cut = False

    # Writing

    @property
    def takes_calls(self) -> bool:
        """Whether a plain call made now is kept until a commit."""
        if capturing.current() is not None:
            return True
        if not self.always or capturing.is_direct():
            return False
        return _is_in_body(self._app) and transactions.in_transaction(self._session)

    @property
    def is_inline(self) -> bool:
        """Whether a call just does what it does: in eager mode, and where it is kept already."""
        return bool(self._app.conf.task_always_eager) or capturing.current() is not None

    def send(self, call: Callable[[], T], session: Any = None) -> T:
        """Let a call write what it would publish.

        :param call: publishes messages of this application
        :param session: the one to write through, by default the application's
        :raises OutboxError: there is no session to write through, or no table in its database
        """
        if self.is_inline:
            return call()
        return self.keep(call, session)[0]

    def keep(self, call: Callable[[], T], session: Any = None) -> tuple[T, list[Packed]]:
        """:meth:`send`, where messages are kept; also returns what was written."""
        found = self._session_of(session)
        capture = capture_for(self._app)
        with capturing.into(capture):
            result = call()
        queues: Any = self._app.amqp.queues
        for message in capture.messages:
            message.chords = capture.chords
        written = [message.pack(queues) for message in capture.messages]
        self._write(found, written)
        return result, written

    def write(self, packed: Packed, session: Any = None) -> None:
        """Write a message that was made before.

        :raises OutboxError: there is no session to write through, or no table in its database
        """
        self._write(self._session_of(session), [packed])

    def _session_of(self, session: Any) -> Session:
        found = transactions.current(self._session if session is None else session)
        if session is not None:
            transactions.watch(found)
        return found

    def send_one(self, call: Callable[[], T], options: dict[str, Any]) -> T | None:
        """Let ``send_task`` write a message where that is to be kept; None where it is not.

        :param options: its named options; they get the producer that keeps it
        """
        capture = capturing.current()
        if capture is None:
            if _is_own_way(options):
                return None
            if _goes_on(options) or not self.takes_calls:
                options.pop("producer", None)  # a group's, which would keep it
                return None
            return self.send(lambda: self.send_one(call, options))
        if _is_own_way(options):
            raise OutboxError(
                "A task that is sent on commit goes over the application's own connections: leave"
                " out producer and connection"
            )
        options["producer"] = capture.producer
        options.pop("publisher", None)
        return call()

    def producer(self) -> Any:
        """What takes the place of a producer where messages are kept, else None."""
        capture = capturing.current()
        if capture is None and self.takes_calls:
            capture = capture_for(self._app)  # each message will have one of its own
        return None if capture is None else capture.producer

    def _write(self, session: Session, messages: list[Packed]) -> None:
        if not messages:
            return
        connection = transactions.connection_of(session)
        self._ensure_table(connection)
        now = time.time()
        rows = [
            {
                "task_id": message.task_id,
                "task": _short(message.task),
                "queue": _short(message.queue),
                "message": message.text,
                "created": now,
                "due": now + LEASE,
                "owner": self._owner,
            }
            for message in messages
        ]
        ids = queries.add(connection, rows)
        written = transactions.Written(
            transactions.innermost(session), connection.engine, ids, self._ended, self._dropped
        )
        transactions.remember(session, written)

    def _ensure_table(self, connection: Connection) -> None:
        if connection.engine in self._made:
            return
        if not queries.has_table(connection):
            url = connection.engine.url.render_as_string()
            raise OutboxError(
                f"{url} has no table celeriac_outbox, into which tasks are written that are sent on"
                " commit: make it with `flask celery db upgrade`"
            )
        self._made.add(connection.engine)

    def _ended(self, engine: Engine, ids: list[int], certain: bool) -> None:
        route = self._routes.get(engine) or self._routes.setdefault(engine, _Route(self, engine))
        for oldest in list(self._routes)[:-ROUTES]:
            self._routes.pop(oldest, None)
        route.ids.append((ids, certain))
        if transactions.is_private(engine):  # nobody else can
            self._send_now(route)
        else:
            courier.do(functools.partial(self._send_now, route))

    def _send_now(self, route: _Route) -> None:
        """Send all that has been committed since this was done the last time."""
        try:
            self._send_all(route)
        finally:
            # Whoever adds to it at this moment has this done once more, with the same route.
            engine, is_done = route.relay.engine, not (route.ids or route.relay.is_owing)
            if is_done and self._routes.get(engine) is route:
                self._routes.pop(engine, None)

    def _send_all(self, route: _Route) -> None:
        taken = [route.ids.popleft() for _ in range(len(route.ids))]
        for certain in (True, False):
            ids = [number for some, sure in taken if sure is certain for number in some]
            turn = route.relay.send(ids, self._owner) if ids else Turn()
            if turn.out_of_reach:
                logger.log(
                    logging.DEBUG if self._is_cut else logging.WARNING,
                    "The broker is out of reach: %d message(s) wait in the outbox for a relay (%s)",
                    turn.taken - turn.published - turn.failed, turn.out_of_reach,
                )  # fmt: skip
            if turn.taken:
                self._is_cut = bool(turn.out_of_reach)
            if not certain and turn.taken < len(ids):
                self._dropped(len(ids) - turn.taken)

    def _dropped(self, number: int) -> None:
        level = logging.WARNING if self.always else logging.DEBUG
        logger.log(level, "%d task(s) are not sent: their transaction was not committed", number)

    # Relaying

    def relay(self, engine: Engine) -> Relay:
        """The way from a database with the outbox to the broker."""
        app = self._app
        return Relay(
            engine,
            app,
            functools.partial(sending.relaying, app),
            self._announce,
            self._bury,
            alone=transactions.is_private(engine),
        )

    def find_engine(self) -> Engine | None:
        """The engine of the session's database, None where there is none to relay from."""
        flask_app = self._app.flask_app
        with contextlib.nullcontext() if flask_app is None else flask_app.app_context():
            engine = transactions.engine_of(self._session)
        return None if engine is None or transactions.is_private(engine) else engine

    def find_relay(self) -> Relay | None:
        """The way from the session's database to the broker; None where there is no outbox."""
        engine = self.find_engine()
        if engine is None:
            return None
        if engine not in self._made:
            with fork_gate.held(), engine.connect() as connection:
                if not queries.has_table(connection):
                    return None
            self._made.add(engine)
        return self.relay(engine)

    def _announce(self, messages: Sequence[Message]) -> None:
        if self._app.recorder.is_needed:
            for message in messages:
                if message.task_id:
                    known = {"queue": message.queue, "priority": message.options.get("priority")}
                    self._app.recorder.relayed(message.headers, _text(message), **known)

    def _bury(self, row: queries.Row, reason: str) -> None:
        if row.task_id is not None:
            self._app.recorder.given_up(row.task_id, row.task, row.queue, row.created, reason)


#: Those of this process, as long as somebody else has them.
_all: WeakSet[OnCommit] = WeakSet()


def _reset_all() -> None:
    for outbox in _all:
        outbox.reset()


fork_gate.in_child(_reset_all)


class _Route:
    """Where messages of one database are sent from, and the numbers of those that are to be."""

    def __init__(self, outbox: OnCommit, engine: Engine) -> None:
        self.relay = outbox.relay(engine)
        self.ids: deque[tuple[list[int], bool]] = deque()


def _is_own_way(options: dict[str, Any]) -> bool:
    """Whether the caller says over which connection a message goes."""
    given = [options[name] for name in _OWN_WAYS if options.get(name) is not None]
    return any(not isinstance(way, CapturingProducer) for way in given)


def _goes_on(options: dict[str, Any]) -> bool:
    """Whether a message carries on the task that runs, whose transaction is about to fail."""
    return bool(options.get("retries") or options.get("replaced_task_nesting"))


def _is_in_body(app: FlaskCelery) -> bool:
    """Whether this is no worker, or the body of a task: what comes after it is Celery's."""
    task = app.current_worker_task
    return task is None or not task.request.__dict__.get(capturing.OVER)


def _text(message: Message) -> str | None:
    """The arguments as they travel, where they may be kept."""
    body = message.body
    return body if isinstance(body, str) and len(body) <= LONGEST_ARGUMENTS else None


def _short(text: str | None) -> str | None:
    return None if text is None else text[:_LONGEST_NAME]
