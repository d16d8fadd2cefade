"""The application's sessions: which one it is, and what becomes of its transactions.

Nothing here decides whether a task is sent: the database does, by keeping the row or not. What is
told of a commit is a hint that there is something to send now.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from ..errors import OutboxError
from ..tables import outbox

#: Under which a session keeps what was written in it.
_KEY = "celeriac_outbox"

logger = logging.getLogger(__name__)


@dataclass
class Written:
    """Messages that were written in a transaction which has not ended.

    :param transaction: the innermost one, a savepoint perhaps
    :param engine: where they are
    :param ended: told of the numbers of the messages when the outermost transaction has ended, and
        whether it is certain that it was committed
    :param dropped: told how many are certainly not sent
    """

    transaction: Any
    engine: Engine
    ids: list[int]
    ended: Callable[[Engine, list[int], bool], None]
    dropped: Callable[[int], None]


def current(session: Any) -> Session:
    """The session of this request or task.

    :param session: what ``Celeriac(session=...)`` was given
    :raises OutboxError: it is none that the outbox can write through
    """
    if isinstance(session, scoped_session):
        found = session()
        if isinstance(found, Session):
            return found
    if isinstance(session, Session):
        return session
    if session is None:
        raise OutboxError
    if isinstance(session, sessionmaker):
        raise OutboxError(
            "A sessionmaker makes a new session each time it is called: pass the one that is to"
            " commit, apply_async_on_commit(..., session=session), or give Celeriac(session=...) a"
            " scoped_session"
        )
    if hasattr(session, "sync_session") or "async" in type(session).__name__.lower():
        raise OutboxError(
            "The outbox writes through synchronous sessions, and this one is asynchronous: give"
            " Celeriac(session=...) a scoped_session on a synchronous driver"
        )
    raise OutboxError(
        f"{session!r} is no SQLAlchemy session: give Celeriac(session=...) Flask-SQLAlchemy's"
        " db.session, a scoped_session or a Session"
    )


def in_transaction(session: Any) -> bool:
    """Whether the session of this request or task, if there is one, is in a transaction."""
    if isinstance(session, scoped_session):
        try:
            if not session.registry.has():
                return False
        except RuntimeError:  # Flask-SQLAlchemy's, outside of application contexts
            return False
        session = session.registry()
    return isinstance(session, Session) and session.in_transaction()


def connection_of(session: Session) -> Connection:
    """The connection that a session's transaction is on, begun if it was not.

    :raises OutboxError: it is bound to none, or its driver is an asynchronous one
    """
    try:
        connection = session.connection(bind_arguments={"clause": outbox})
    except UnboundExecutionError as error:
        raise OutboxError(
            "The session does not say which of its databases has the outbox: bind it to one, or the"
            " table, as in sessionmaker(binds={flask_celeriac.tables.outbox: engine})"
        ) from error
    if connection.dialect.is_async:
        raise OutboxError(
            f"The outbox writes through synchronous drivers, and {connection.dialect.driver} is"
            " asynchronous: bind the session to a synchronous one"
        )
    return connection


def engine_of(session: Any) -> Engine | None:
    """The engine of an application's session, None where it has none yet; in its context."""
    with contextlib.ExitStack() as stack:
        if isinstance(session, scoped_session):
            if not session.registry.has():
                stack.callback(session.remove)
            session = session()
        elif isinstance(session, sessionmaker):
            session = stack.enter_context(session())
        if not isinstance(session, Session):
            return None
        try:
            bind = session.get_bind(clause=outbox)
        except UnboundExecutionError:
            return None
        return None if bind.dialect.is_async else bind.engine


def is_private(engine: Engine) -> bool:
    """Whether nobody but this thread reaches its database: an SQLite in memory."""
    return isinstance(engine.pool, (StaticPool, SingletonThreadPool))


def remember(session: Session, written: Written) -> None:
    """Have somebody told when the session's transaction ends."""
    session.info.setdefault(_KEY, []).append(written)


def innermost(session: Session) -> Any:
    """The transaction that a session is in, which may be a savepoint."""
    return session.get_nested_transaction() or session.get_transaction()


def watch(session: Any) -> None:
    """Listen to what becomes of the transactions of an application's session.

    What is told twice does nothing the second time. ``event.contains`` goes by the target's
    ``id()``, which may have been another's that is gone.
    """
    if not isinstance(session, (scoped_session, sessionmaker, Session)):
        return
    with contextlib.suppress(Exception):  # those of asynchronous sessions are no targets
        for name, listener in _LISTENERS.items():
            event.listen(session, name, listener)


def _after_begin(session: Session, transaction: Any, connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        event.listen(connection, "savepoint", _begin_before)


def _begin_before(connection: Connection, name: str | None) -> None:
    """Begin the transaction before its savepoint, which else would be one of its own.

    The standard library's driver begins with the first statement that writes; what a savepoint
    before that has released stays when the transaction is rolled back.
    """
    raw = connection.connection.dbapi_connection
    if not getattr(raw, "in_transaction", True):
        connection.exec_driver_sql("BEGIN")


def _after_commit(session: Session) -> None:
    if session.in_nested_transaction():  # SQLAlchemy calls a savepoint's release a commit
        return
    _tell(session, certain=True)


def _tell(session: Session, *, certain: bool) -> None:
    for written in session.info.pop(_KEY, ()):
        with _logged():
            written.ended(written.engine, written.ids, certain)


def _after_rollback(session: Session) -> None:
    if session.in_nested_transaction():  # told of next, and of which one it was
        return
    for written in session.info.pop(_KEY, ()):
        with _logged():
            written.dropped(len(written.ids))


def _after_soft_rollback(session: Session, previous: Any) -> None:
    kept = []
    for written in session.info.pop(_KEY, ()):
        if previous in _with_parents(written.transaction):
            with _logged():
                written.dropped(len(written.ids))
        else:
            kept.append(written)
    if kept:
        session.info[_KEY] = kept


def _after_transaction_end(session: Session, transaction: Any) -> None:
    # The session was closed, or somebody's hook has raised an error before ours was called.
    if transaction.parent is None:
        _tell(session, certain=False)


def _with_parents(transaction: Any) -> Iterator[Any]:
    while transaction is not None:
        yield transaction
        transaction = transaction.parent


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """Whoever commits has nothing to do with what goes wrong here."""
    try:
        yield
    except Exception:
        logger.exception("What is to be sent after a commit is left to the relay")


_LISTENERS: dict[str, Callable[..., None]] = {
    "after_begin": _after_begin,
    "after_commit": _after_commit,
    "after_rollback": _after_rollback,
    "after_soft_rollback": _after_soft_rollback,
    "after_transaction_end": _after_transaction_end,
}
