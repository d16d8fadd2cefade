"""A record of every task from its beginning, in place of a result at its end.

Each step first looks whether it was done: MySQL commits each by itself.
"""

from alembic import op
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    inspect,
    text,
)
from sqlalchemy.dialects import mysql

from flask_celeriac.migrations.making import make

revision = "0003"
down_revision = "0002"

metadata = MetaData()
Long = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
Id = String(255).with_variant(mysql.VARCHAR(255, collation="utf8mb4_bin"), "mysql", "mariadb")
Serial = BigInteger().with_variant(Integer(), "sqlite")
Moment = Float(53).with_variant(mysql.DOUBLE(asdecimal=False), "mysql", "mariadb")

record = Table(
    "celeriac_record",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("task_id", Id, nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("status", String(50)),
    Column("name", Id),
    Column("queue", Id),
    Column("priority", SmallInteger),
    Column("attempts", Integer, nullable=False, server_default="0"),
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
    Column("worker", Id),
    Column("progress_current", Moment),
    Column("progress_total", Moment),
    Column("progress_message", String(255)),
    Column("root_id", Id),
    Column("parent_id", Id),
    Column("group_id", Id),
    Column("chord_id", Id),
    Column("retry_of", Id),
    Column("schedule", Id),
    Column("labels", String(500)),
    Column("request_id", String(255)),
    Column("trace_id", String(64)),
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
Table(
    "celeriac_attempt",
    metadata,
    Column("task_id", Id, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("worker", Id),
    Column("started", Moment),
    Column("finished", Moment),
    Column("error_type", String(255)),
    Column("error_message", String(500)),
    Column("traceback", Long),
    sqlite_with_rowid=False,
)
Table(
    "celeriac_pause",
    metadata,
    Column("queue", Id, primary_key=True),
    Column("since", Moment, nullable=False),
    Column("actor", String(255)),
    sqlite_with_rowid=False,
)
Table(
    "celeriac_audit",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("at", Moment, nullable=False, index=True),
    Column("actor", String(255)),
    Column("verb", String(50), nullable=False),
    Column("target", Id, nullable=False),
    Column("details", Long),
)
Table(
    "celeriac_idempotency",
    metadata,
    Column("scope", String(191), primary_key=True),
    Column("key", Id, primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("task_id", Id, nullable=False),
    Column("created", Moment, nullable=False, index=True),
    sqlite_with_rowid=False,
)


def upgrade() -> None:
    """Set the old results aside, make the new tables, and copy."""
    connection = op.get_bind()
    if _is_old(connection):
        _set_aside(connection)
    make(connection, metadata)
    tables = set(inspect(connection).get_table_names())
    if "celeriac_record_v2" in tables:
        connection.execute(text(COPY))
        op.drop_table("celeriac_record_v2")
    if "celeriac_schema" in tables:  # the version, before Alembic kept it
        op.drop_table("celeriac_schema")


def _is_old(connection: Connection) -> bool:
    if not inspect(connection).has_table("celeriac_record"):
        return False
    columns = {column["name"] for column in inspect(connection).get_columns("celeriac_record")}
    return "id" not in columns


def _set_aside(connection: Connection) -> None:
    """Rename the old table and what keeps a name of its own beside it."""
    indexes = {index["name"] for index in inspect(connection).get_indexes("celeriac_record")}
    if "celeriac_record_updated" in indexes:
        op.drop_index("celeriac_record_updated", "celeriac_record")
    if connection.dialect.name == "postgresql":
        op.execute("ALTER INDEX celeriac_record_pkey RENAME TO celeriac_record_v2_pkey")
    op.rename_table("celeriac_record", "celeriac_record_v2")


COPY = """
INSERT INTO celeriac_record
    (task_id, state, status, result, traceback, children, details, created, finished, updated)
SELECT task_id,
    CASE state
        WHEN 'SUCCESS' THEN 'succeeded' WHEN 'IGNORED' THEN 'succeeded'
        WHEN 'FAILURE' THEN 'failed' WHEN 'REVOKED' THEN 'revoked' WHEN 'REJECTED' THEN 'dead'
        WHEN 'RETRY' THEN 'retrying' WHEN 'PENDING' THEN 'queued' WHEN 'RECEIVED' THEN 'queued'
        ELSE 'running'
    END,
    state, result, traceback, children, details, coalesce(finished, updated), finished, updated
FROM celeriac_record_v2 old
WHERE NOT EXISTS (SELECT 1 FROM celeriac_record new WHERE new.task_id = old.task_id)
ORDER BY updated
"""
