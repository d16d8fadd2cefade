"""The tables beside the queue, and the engines that reach them.

By default they live in the embedded broker's file, reached through APSW; with
``CELERIAC_DATABASE`` in whatever database SQLAlchemy speaks to.
"""

from __future__ import annotations

import threading
import time

from sqlalchemy import (
    Column,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    insert,
    make_url,
    select,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from . import fork_gate, sqlite
from .errors import StorageError

metadata = MetaData()

#: Text of any length: MySQL's TEXT ends at 64 KiB.
_Long = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")

#: Ids of tasks and groups: MySQL's own collations take "a" and "A" for the same.
_Id = String(255).with_variant(mysql.VARCHAR(255, collation="utf8mb4_bin"), "mysql", "mariadb")

#: What became of a task, in the words of Celery's result backends.
record = Table(
    "celeriac_record",
    metadata,
    Column("task_id", _Id, primary_key=True),
    Column("state", String(50), nullable=False),
    Column("result", _Long),
    Column("traceback", _Long),
    Column("children", _Long),
    Column("details", _Long),
    Column("finished", Float(53)),
    Column("updated", Float(53), nullable=False),
    Index("celeriac_record_updated", "updated"),
    sqlite_with_rowid=False,
)

#: The members of a group, for ``GroupResult.restore``.
group = Table(
    "celeriac_group",
    metadata,
    Column("group_id", _Id, primary_key=True),
    Column("result", _Long, nullable=False),
    Column("created", Float(53), nullable=False, index=True),
)

#: The chords that have begun: how many members there are and how many have ended. ``due`` is set
#: while the body is to be sent, ``sent`` afterwards.
chord = Table(
    "celeriac_chord",
    metadata,
    Column("group_id", _Id, primary_key=True),
    Column("size", Integer),
    Column("added", Integer, nullable=False, default=0),
    Column("returned", Integer, nullable=False, default=0),
    Column("members", _Long),
    Column("body", _Long),
    Column("due", Float(53), index=True),
    Column("claimed_by", _Id),
    Column("claimed_until", Float(53)),
    Column("claims", Integer, nullable=False, default=0),
    Column("sent", Float(53)),
    Column("updated", Float(53), nullable=False, index=True),
)

#: The members of a chord that have ended, until its body is sent.
chord_part = Table(
    "celeriac_chord_part",
    metadata,
    Column("group_id", _Id, primary_key=True),
    Column("task_id", _Id, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("state", String(50), nullable=False),
    Column("result", _Long),
    sqlite_with_rowid=False,
)

#: One row: the version of these tables.
schema = Table(
    "celeriac_schema",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)

SCHEMA_VERSION = 2

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
