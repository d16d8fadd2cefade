"""The engines that reach the tables beside the queue.

By default they live in the embedded broker's file, reached through APSW; with
``CELERIAC_DATABASE`` in whatever database SQLAlchemy speaks to.
"""

from __future__ import annotations

import threading
import time

from sqlalchemy import (
    Engine,
    create_engine,
    insert,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from . import fork_gate, sqlite
from .errors import StorageError
from .tables import SCHEMA_VERSION, metadata, schema

#: What :func:`driver_of` raises for a database that SQLAlchemy does not know.
UnknownDatabase = ArgumentError
#: What is raised when a database cannot be reached, or not just now.
OUT_OF_REACH = (InterfaceError, OperationalError)

_engines: dict[str, Engine] = {}
_lock = threading.Lock()


def engine_for(url: str) -> Engine:
    """This process's engine for a database, its tables made when they are missing.

    :param url: a SQLAlchemy URL, or ``celeriac:///path`` for the embedded file.

    .. versionadded:: 0.1
    """
    try:
        return _engines[url]
    except KeyError:
        pass
    with _lock:
        if url not in _engines:
            engine = _embedded(url) if url.startswith("celeriac:") else _external(url)
            _prepare(engine)
            _engines[url] = engine
        return _engines[url]


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


def _prepare(engine: Engine) -> None:
    """Make the tables, or bring them to this version; several processes may come here at once."""
    if _version(engine) == SCHEMA_VERSION:
        return
    for attempt in range(10):
        try:
            _create(engine)
            return
        except DBAPIError:
            # MySQL commits each table by itself: another process may be half-way through them.
            if _version(engine) == SCHEMA_VERSION:
                return
            if attempt == 9:
                raise
            time.sleep(0.1)


def _version(engine: Engine) -> int | None:
    """The version of a database's tables, None where there are none.

    :raises StorageError: a newer version of this package made them.
    """
    with engine.connect() as connection:
        if not engine.dialect.has_table(connection, schema.name):
            return None
        found = connection.execute(select(schema.c.version)).scalar()
    if found is not None and found > SCHEMA_VERSION:
        raise StorageError(
            f"{masked(str(engine.url))}: its tables were made by a newer Flask-Celeriac (version"
            f" {found}, this one knows {SCHEMA_VERSION}): upgrade flask-celeriac here too"
        )
    return found


def _create(engine: Engine) -> None:
    # Version 2 added tables and changed none.
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            if table is not schema:
                table.create(connection, checkfirst=True)
        schema.create(connection, checkfirst=True)
        # Last: the version says that the others are there.
        known = connection.execute(update(schema).values(version=SCHEMA_VERSION)).rowcount
        if not known:
            connection.execute(insert(schema).values(version=SCHEMA_VERSION))


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
    """In a forked child: new pools; the parent's connections stay the parent's."""
    global _lock
    _lock = threading.Lock()
    for engine in _engines.values():
        engine.dispose(close=False)


fork_gate.in_child(_forget_inherited)
