"""An embedded file whose queue an older version made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
from kombu import Connection

import flask_celeriac.broker  # noqa: F401 - registers the transport
from flask_celeriac import sqlite
from flask_celeriac.broker import schema
from tests.broker.messages import Receiver, put

VERSION_1 = (Path(__file__).parent / "queue_v1.sql").read_text()


def test_a_queue_of_version_1_loses_no_message(tmp_path: Path) -> None:
    new, old = str(tmp_path / "new.db"), str(tmp_path / "old.db")
    with Connection(sqlite.url_of(new)) as connection:
        put(connection, *range(5))
        put(connection, "urgent", priority=9)
        put(connection, "later", headers={"eta": "2999-01-01T00:00:00+00:00"})
    make_version_1(old, new)

    with Connection(sqlite.url_of(old)) as connection:
        bodies = Receiver(connection, "jobs").drain(6).bodies
        assert bodies[:6] == ["urgent", *range(5)]
        with sqlite.file_at(old).connection() as db:
            assert schema.version(db) == schema.VERSION
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert tables_of(db) == tables_of(apsw.Connection(new))
    for path in (new, old):
        sqlite.file_at(path).close()


def make_version_1(path: str, source: str) -> None:
    """A file as version 1 made it, with the messages and queues of another."""
    db = apsw.Connection(path)
    db.execute("PRAGMA journal_mode = wal")
    db.execute(VERSION_1)
    db.execute("ATTACH ? AS source", (source,))
    for name in ("message", "queue", "binding"):
        columns = ", ".join(row[1] for row in db.execute(f"PRAGMA main.table_info({name})"))
        db.execute(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM source.{name}")
    db.execute("PRAGMA user_version = 1")
    db.close()


def tables_of(db: apsw.Connection) -> dict[str, Any]:
    """Columns in any order, as those that are added come last, and indexes as they were made."""
    rows = db.execute("SELECT name, type, coalesce(sql, '') FROM sqlite_schema ORDER BY name")
    return {
        str(name): " ".join(str(sql).split())
        if kind == "index"
        else sorted(row[1:] for row in db.execute(f"PRAGMA table_info({name})").fetchall())
        for name, kind, sql in rows.fetchall()
    }
