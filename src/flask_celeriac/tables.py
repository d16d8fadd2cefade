"""All tables beside the queue, on one page.

Times are seconds since the epoch, in UTC. What is null was never known.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects import mysql

metadata = MetaData()

#: Text of any length: MySQL's TEXT ends at 64 KiB.
Long = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
#: Ids of tasks and groups: MySQL's own collations take "a" and "A" for the same.
Id = String(255).with_variant(mysql.VARCHAR(255, collation="utf8mb4_bin"), "mysql", "mariadb")
#: Names of queues, tasks and workers, compared letter by letter, too.
Name = Id
#: A row's own number; SQLite counts only in INTEGER.
Serial = BigInteger().with_variant(Integer(), "sqlite")
#: MySQL calls a FLOAT(53) so, and Alembic would take the two for different.
Moment = Float(53).with_variant(mysql.DOUBLE(asdecimal=False), "mysql", "mariadb")

#: Every task: what it is, where it is, and what became of it. While a task is in the embedded
#: broker's queue, its message is its record, unless there is more to say of it.
record = Table(
    "celeriac_record",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("task_id", Id, nullable=False, unique=True),
    # Ours, of flask_celeriac.states; and Celery's word, which a result backend answers with.
    Column("state", String(16), nullable=False),
    Column("status", String(50)),
    Column("name", Name),
    Column("queue", Name),
    Column("priority", SmallInteger),
    Column("attempts", Integer, nullable=False, server_default="0"),
    # The JSON text of [args, kwargs, ...], as it travels; null where it is not kept.
    Column("arguments", Long),
    Column("result", Long),
    Column("traceback", Long),
    Column("children", Long),
    Column("details", Long),
    Column("error_type", String(255)),
    Column("error_message", String(500)),
    Column("error_fingerprint", String(16)),
    Column("created", Moment, nullable=False),
    Column("eta", Moment),
    Column("started", Moment),
    Column("finished", Moment),
    Column("updated", Moment, nullable=False),
    Column("worker", Name),
    Column("progress_current", Moment),
    Column("progress_total", Moment),
    Column("progress_message", String(255)),
    Column("root_id", Id),
    Column("parent_id", Id),
    Column("group_id", Id),
    Column("chord_id", Id),
    Column("retry_of", Id),
    Column("schedule", Name),
    # A JSON list of strings.
    Column("labels", String(500)),
    Column("request_id", String(255)),
    Column("trace_id", String(64)),
    # What tells the run that is at it from all others, where the queue does not; and how many runs
    # were cut off by the death of their process.
    Column("run", String(64)),
    Column("crashes", Integer, nullable=False, server_default="0"),
    Index("celeriac_record_created", "created"),
    Index("celeriac_record_state", "state", "created"),
    Index("celeriac_record_name", "name", "created"),
)
Index(
    "celeriac_record_error",
    record.c.error_fingerprint,
    record.c.created,
    sqlite_where=record.c.error_fingerprint.is_not(None),
    postgresql_where=record.c.error_fingerprint.is_not(None),
)
Index(
    "celeriac_record_root",
    record.c.root_id,
    record.c.created,
    sqlite_where=record.c.root_id.is_not(None),
    postgresql_where=record.c.root_id.is_not(None),
)

#: The attempts of a task that did not end it: those that were retried, and those that were cut off.
attempt = Table(
    "celeriac_attempt",
    metadata,
    Column("task_id", Id, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("worker", Name),
    Column("started", Moment),
    Column("finished", Moment),
    Column("error_type", String(255)),
    Column("error_message", String(500)),
    Column("traceback", Long),
    sqlite_with_rowid=False,
)

#: The messages of dead tasks, as they came: those that could not be read, or were not to be run.
dead_letter = Table(
    "celeriac_dead_letter",
    metadata,
    Column("task_id", Id, primary_key=True),
    Column("reason", String(50), nullable=False),
    Column("content_type", String(255)),
    Column("content_encoding", String(50)),
    # JSON; and the body as text, or in base64 where it is none.
    Column("headers", Long),
    Column("body", Long),
    Column("at", Moment, nullable=False, index=True),
)

#: The tasks that keep others of the same key from being sent, at least until a moment.
unique = Table(
    "celeriac_unique",
    metadata,
    Column("key", Name, primary_key=True),
    Column("task_id", Id, nullable=False),
    Column("until", Moment, nullable=False, index=True),
    sqlite_with_rowid=False,
)

#: The runs that are counted by a limit on how many there may be at once.
slot = Table(
    "celeriac_slot",
    metadata,
    Column("key", Name, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("task_id", Id, nullable=False),
    Column("run", String(64), nullable=False),
    Column("since", Moment, nullable=False),
    sqlite_with_rowid=False,
)

#: When the next run may begin, where a limit says how many there may be in a time.
rate = Table(
    "celeriac_rate",
    metadata,
    Column("key", Name, primary_key=True),
    Column("next", Moment, nullable=False, index=True),
    sqlite_with_rowid=False,
)

#: The queues from which nothing is taken for the time being.
pause = Table(
    "celeriac_pause",
    metadata,
    Column("queue", Name, primary_key=True),
    Column("since", Moment, nullable=False),
    Column("actor", String(255)),
    sqlite_with_rowid=False,
)

#: What people and programs did to tasks and queues through the API.
audit = Table(
    "celeriac_audit",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("at", Moment, nullable=False, index=True),
    Column("actor", String(255)),
    Column("verb", String(50), nullable=False),
    Column("target", Id, nullable=False),
    Column("details", Long),
)

#: The requests that carried an Idempotency-Key, and the task that each of them started.
idempotency = Table(
    "celeriac_idempotency",
    metadata,
    Column("scope", String(191), primary_key=True),
    Column("key", Id, primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("task_id", Id, nullable=False),
    Column("created", Moment, nullable=False, index=True),
    sqlite_with_rowid=False,
)

#: The members of a group, for ``GroupResult.restore``.
group = Table(
    "celeriac_group",
    metadata,
    Column("group_id", Id, primary_key=True),
    Column("result", Long, nullable=False),
    Column("created", Moment, nullable=False, index=True),
)

#: The chords that have begun: how many members there are and how many have ended. ``due`` is set
#: while the body is to be sent, ``sent`` afterwards.
chord = Table(
    "celeriac_chord",
    metadata,
    Column("group_id", Id, primary_key=True),
    Column("size", Integer),
    Column("added", Integer, nullable=False, default=0),
    Column("returned", Integer, nullable=False, default=0),
    Column("members", Long),
    Column("body", Long),
    Column("due", Moment, index=True),
    Column("claimed_by", Id),
    Column("claimed_until", Moment),
    Column("claims", Integer, nullable=False, default=0),
    Column("sent", Moment),
    Column("updated", Moment, nullable=False, index=True),
)

#: The members of a chord that have ended, until its body is sent.
chord_part = Table(
    "celeriac_chord_part",
    metadata,
    Column("group_id", Id, primary_key=True),
    Column("task_id", Id, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("state", String(50), nullable=False),
    Column("result", Long),
    sqlite_with_rowid=False,
)

#: Of the application's own database, which need not be that of the records.
outbox_metadata = MetaData()

#: Messages that are sent once the transaction they were written in has been committed. ``due`` says
#: from when on a relay may take one; it is null where the message was given up.
outbox = Table(
    "celeriac_outbox",
    outbox_metadata,
    Column("id", Serial, primary_key=True),
    Column("task_id", Id, index=True),
    Column("task", Name),
    Column("queue", Name),
    Column("message", Long, nullable=False),
    Column("created", Moment, nullable=False),
    Column("due", Moment, index=True),
    Column("owner", String(64)),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("error", String(500)),
)

#: One row: the version of these tables, as Alembic keeps it. Alembic makes this table too, so it is
#: not among those that are compared.
revision = Table(
    "celeriac_alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="celeriac_alembic_version_pkc"),
)

SCHEMA_VERSION = 4
#: What Alembic calls it: the name of the last script in ``migrations``.
REVISION = f"{SCHEMA_VERSION:04}"
