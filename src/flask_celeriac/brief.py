"""What nobody waits for longer than a moment: a task is worth more than its record.

The database is told how long a statement may take, and may wait for others. So a table that is
locked, or a server that is overloaded, costs a task a second or two and its record some words.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError, InternalError, TimeoutError

from . import database, deadline, fork_gate, patience
from .errors import StorageError

#: Seconds that a statement waits for the locks of others; and that it takes, at most.
LOCKED = 1.0
STATEMENT = 1.5
#: Seconds for a connection to come about: no driver takes less than two for a number.
CONNECT = 2

#: Seconds that a server which does not answer at all is waited for, where its driver has no limit.
SILENT = 3.0

T = TypeVar("T")

#: What says that nothing could be written just now: also a server that is about to be a replica's.
_PASSING = (*database.OUT_OF_REACH, InternalError, TimeoutError, StorageError, OSError)
_engines: dict[str, Engine] = {}

#: For one transaction only: a pooler in between would give what is set for longer to others.
_LIMITS = text(
    "SELECT set_config('lock_timeout', :locked, true), set_config('statement_timeout', :all, true)"
).bindparams(locked=f"{LOCKED * 1000:.0f}", all=f"{STATEMENT * 1000:.0f}")


def run(url: str, work: Callable[[Connection], T]) -> T:
    """Do something in a transaction of its own, soon or not at all.

    :param url: as :func:`.database.engine_for` takes it
    :param work: what to do on a connection; twice, where the first one turns out to be dead
    :raises sqlalchemy.exc.SQLAlchemyError: it was not done
    :raises StorageError: likewise, on the embedded file
    """
    with patience.short():
        engine = _engine(url)
        try:
            return _once(engine, work)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        return _once(engine, work)


def may_pass(error: BaseException) -> bool:
    """Whether what was not done may be done later."""
    return isinstance(error, _PASSING) or getattr(error, "connection_invalidated", False)


def _once(engine: Engine, work: Callable[[Connection], T]) -> T:
    if engine.dialect.name != "postgresql":
        with engine.begin() as connection:
            return work(connection)
    with engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        watched = deadline.watch(raw.fileno(), SILENT) if hasattr(raw, "fileno") else nullcontext()
        with watched, connection.begin():
            connection.execute(_LIMITS)
            return work(connection)


def _engine(url: str) -> Engine:
    """An engine with connections of its own, as they are of less patience than others."""
    if url.startswith("celeriac:"):  # whose every wait looks at how long it may take
        return database.engine_for(url)
    engine = _engines.get(url)
    if engine is not None:
        return engine
    arguments = _ARGUMENTS.get(make_url(url).get_driver_name(), {})
    engine = create_engine(url, pool_timeout=LOCKED, connect_args=arguments)
    # Else what makes the tables would wait for a server; and each thread for the one before it.
    with engine.connect():
        pass
    database.engine_for(url)
    kept = _engines.setdefault(url, engine)
    if kept is not engine:
        engine.dispose()
    return kept


_SECOND = f"{LOCKED:.0f}"
_MYSQL: dict[str, Any] = {
    "connect_timeout": CONNECT,
    "init_command": f"SET innodb_lock_wait_timeout = {_SECOND}, lock_wait_timeout = {_SECOND}",
}
#: What each driver is told when it connects.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    # A server whose machine is gone is given up after about as long as a statement may take.
    "psycopg": {
        "connect_timeout": CONNECT,
        "tcp_user_timeout": int(STATEMENT * 1000),
        "keepalives_idle": 1,
        "keepalives_interval": 1,
        "keepalives_count": 2,
    },
    "pymysql": {**_MYSQL, "read_timeout": CONNECT, "write_timeout": CONNECT},
    "mysqldb": _MYSQL,
    "pysqlite": {"timeout": LOCKED},
}
_ARGUMENTS["psycopg2"] = _ARGUMENTS["psycopg"]


def _forget_inherited() -> None:
    """In a forked child: new pools; the parent's connections stay the parent's."""
    for engine in _engines.values():
        engine.dispose(close=False)


fork_gate.in_child(_forget_inherited)
