"""The engines that reach the tables beside the queue.

By default they live in the embedded broker's file, reached through APSW; with
``CELERIAC_DATABASE`` in whatever database SQLAlchemy speaks to.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    create_engine,
    func,
    insert,
    make_url,
    select,
)
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from . import fork_gate, sqlite
from .errors import StorageError, StorageUnavailableError
from .migrations import making
from .tables import (
    REVISION,
    SCHEMA_VERSION,
    metadata,
    outbox,
    outbox_metadata,
    record,
    revision,
)

#: What :func:`driver_of` raises for a database that SQLAlchemy does not know.
UnknownDatabase = ArgumentError
#: What is raised when a database cannot be reached, or not just now.
OUT_OF_REACH = (InterfaceError, OperationalError)

#: Where the version stood before Alembic kept it.
_SCHEMA = Table("celeriac_schema", MetaData(), Column("version", Integer))
#: Of no meaning but that it is ours: the number of PostgreSQL's advisory lock.
_LOCK = 0x63656C65
#: Seconds that a process waits for another that changes the tables.
_PATIENCE = 60

_engines: dict[str, Engine] = {}
#: Of each database one, as one that does not answer keeps who asks others from nothing.
_locks: dict[str, threading.Lock] = {}


def engine_for(url: str) -> Engine:
    """This process's engine for a database, its tables made when they are missing.

    :param url: a SQLAlchemy URL, or ``celeriac:///path`` for the embedded file.
    :raises StorageError: its tables are of another version of this package.

    .. versionadded:: 0.1
    """
    try:
        return _engines[url]
    except KeyError:
        pass
    with _locks.setdefault(url, threading.Lock()):
        if url not in _engines:
            engine = unprepared(url)
            try:
                _prepare(engine, url)
            except BaseException:
                engine.dispose()
                raise
            _engines[url] = engine
        return _engines[url]


def unprepared(url: str) -> Engine:
    """An engine for a database as it is, for who looks after its tables; not kept."""
    return _embedded(url) if url.startswith("celeriac:") else _external(url)


def _embedded(url: str) -> Engine:
    from . import sqlite_dbapi

    path = sqlite.path_of(url)
    return create_engine(
        "sqlite://",
        module=sqlite_dbapi,
        creator=lambda: sqlite_dbapi.connect(path),
        poolclass=QueuePool,
        max_overflow=-1,
    )


def _external(url: str) -> Engine:
    return create_engine(url, pool_pre_ping=True)


def _prepare(engine: Engine, url: str) -> None:
    """Make the tables, or bring those of the embedded file to this version.

    :raises StorageError: they are of another version.
    """
    found = version_of(engine)
    if found == SCHEMA_VERSION:
        return
    if found is None or url.startswith("celeriac:"):
        bring_up(engine)
        return
    raise StorageError(
        f"{masked(url)}: its tables were made by an older Flask-Celeriac (version {found}, this one"
        f" needs {SCHEMA_VERSION}): stop the workers and run `flask celery db upgrade`"
    )


def version_of(engine: Engine) -> int | None:
    """The version of a database's tables, None where there are none.

    :raises StorageError: a newer version of this package made them.
    """
    with engine.connect() as connection:
        found = _version(connection)
    if found is not None and found > SCHEMA_VERSION:
        raise StorageError(
            f"{masked(str(engine.url))}: its tables were made by a newer Flask-Celeriac (version"
            f" {found}, this one knows {SCHEMA_VERSION}): upgrade flask-celeriac here too"
        )
    return found


def _version(connection: Connection) -> int | None:
    has_table = connection.dialect.has_table
    if has_table(connection, revision.name):
        found = connection.execute(select(revision.c.version_num)).scalar()
        if found is not None:
            return int(found)
    if has_table(connection, _SCHEMA.name):
        return connection.execute(select(_SCHEMA.c.version)).scalar()
    return None


def bring_up(engine: Engine) -> None:
    """Make the tables or bring them to this version; several processes may come here at once.

    What was interrupted goes on where it was: MySQL commits each table by itself.

    :raises StorageUnavailableError: another process has been at it for a minute.
    """
    with _alone(engine) as connection:
        found = _version(connection)
        if found == SCHEMA_VERSION:
            return
        if found is None and not connection.dialect.has_table(connection, record.name):
            making.make(connection, metadata)
            revision.create(connection, checkfirst=True)
            connection.execute(insert(revision).values(version_num=REVISION))
        else:
            from .migrations import running  # Alembic takes longer to import than this to do

            running.upgrade(connection)


def complaints(engine: Engine) -> list[str]:
    """In which ways tables of this version are not as it made them."""
    from .migrations import running

    with engine.connect() as connection:
        return [running.in_words(found) for found in running.differences(connection)]


def make_outbox(engine: Engine) -> bool:
    """Make the outbox in the application's own database; whether it was missing.

    :raises StorageUnavailableError: another process has been at it for a minute.
    """
    with _alone(engine) as connection:
        if connection.dialect.has_table(connection, outbox.name):
            return False
        making.make(connection, outbox_metadata)
        return True


def outbox_complaints(engine: Engine) -> list[str] | None:
    """In which ways the outbox is not as this version makes it; None where there is none."""
    from .migrations import running

    with engine.connect() as connection:
        if not connection.dialect.has_table(connection, outbox.name):
            return None
        found = running.differences(connection, outbox_metadata)
        return [running.in_words(difference) for difference in found]


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A transaction beside which no other process changes the tables."""
    dialect = engine.dialect.name
    with engine.connect() as connection:
        if dialect == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif dialect == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        elif dialect in ("mysql", "mariadb"):
            _lock_mysql(connection)
        try:
            yield connection
            connection.commit()
        finally:
            if dialect in ("mysql", "mariadb"):
                connection.rollback()
                connection.execute(select(func.release_lock(_mysql_lock())))


def _lock_mysql(connection: Connection) -> None:
    if not connection.execute(select(func.get_lock(_mysql_lock(), _PATIENCE))).scalar():
        raise StorageUnavailableError(
            f"{masked(str(connection.engine.url))}: another process is changing its tables: wait"
            " until it is done, and try again"
        )


def _mysql_lock() -> ColumnElement[str]:
    # The lock is the whole server's, and its name ends at 64 characters.
    return func.concat("celeriac.", func.left(func.md5(func.database()), 32))


def driver_of(url: str) -> object:
    """The driver module a URL asks for.

    :raises UnknownDatabase: SQLAlchemy knows no such database
    :raises ModuleNotFoundError: the driver is not installed
    """
    return make_url(url).get_dialect().import_dbapi()


def masked(url: str) -> str:
    """A database's URL without its password, to show to people."""
    return make_url(url).render_as_string()


def _forget_inherited() -> None:
    """In a forked child: new pools, as a thread of the parent may have been inside the old."""
    _locks.clear()
    for engine in _engines.values():
        engine.dispose(close=False)


fork_gate.in_child(_forget_inherited)
