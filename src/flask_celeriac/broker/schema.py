"""The tables of the embedded broker, and their version."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import apsw

VERSION = 3

SCHEMA = """
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    task_id TEXT,
    task TEXT,
    due REAL,
    expires REAL,
    claim INTEGER,
    taken REAL,
    cut_worker TEXT,
    cut_taken REAL,
    claims INTEGER NOT NULL DEFAULT 0,
    starts INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    envelope TEXT NOT NULL,
    body BLOB
);
CREATE INDEX message_ready ON message (queue, priority DESC, id)
    WHERE claim IS NULL AND due IS NULL;
CREATE INDEX message_claimed ON message (claim) WHERE claim IS NOT NULL;
CREATE INDEX message_due ON message (due) WHERE due IS NOT NULL;
CREATE INDEX message_expires ON message (expires) WHERE expires IS NOT NULL;
CREATE INDEX message_task ON message (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX message_created ON message (created) WHERE task_id IS NOT NULL;

CREATE TABLE queue (
    name TEXT PRIMARY KEY,
    message_ttl REAL,
    expires_after REAL,
    auto_delete INTEGER NOT NULL DEFAULT 0,
    used REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE binding (
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    pattern TEXT NOT NULL,
    queue TEXT NOT NULL,
    PRIMARY KEY (exchange, queue, routing_key, pattern)
) WITHOUT ROWID;

CREATE TABLE process (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    pid INTEGER NOT NULL,
    lock TEXT NOT NULL,
    lease REAL NOT NULL,
    name TEXT
);

CREATE TABLE consumer (
    process INTEGER NOT NULL,
    tag TEXT NOT NULL,
    queue TEXT NOT NULL,
    PRIMARY KEY (process, tag, queue)
) WITHOUT ROWID;
CREATE INDEX consumer_queue ON consumer (queue);
"""


def version(db: apsw.Connection) -> int:
    """The schema version of the file, 0 when it is new."""
    return int(db.pragma("user_version"))


#: What brings a file from the version before to each version.
UPGRADES = {
    2: """
CREATE INDEX message_task ON message (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX message_created ON message (created) WHERE task_id IS NOT NULL;
""",
    3: """
ALTER TABLE message ADD COLUMN taken REAL;
ALTER TABLE message ADD COLUMN cut_worker TEXT;
ALTER TABLE message ADD COLUMN cut_taken REAL;
ALTER TABLE process ADD COLUMN name TEXT;
""",
}


def upgrade(db: apsw.Connection, found: int) -> None:
    """Bring the tables of an older file to this version."""
    for number in range(found + 1, VERSION + 1):
        db.execute(UPGRADES[number] + f"PRAGMA user_version = {number};")


def create(db: apsw.Connection) -> None:
    """Make the tables of a new file."""
    db.execute(SCHEMA + f"PRAGMA user_version = {VERSION};")
