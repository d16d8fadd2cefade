"""What tells one run of a task from another, what is shared by all workers, and dead letters.

Each step first looks whether it was done: MySQL commits each by itself.
"""

from alembic import op
from sqlalchemy import Column, Float, Integer, MetaData, String, Table, Text, inspect
from sqlalchemy.dialects import mysql

from flask_celeriac.migrations.making import make

revision = "0004"
down_revision = "0003"

metadata = MetaData()
Long = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
Id = String(255).with_variant(mysql.VARCHAR(255, collation="utf8mb4_bin"), "mysql", "mariadb")
Moment = Float(53).with_variant(mysql.DOUBLE(asdecimal=False), "mysql", "mariadb")

Table(
    "celeriac_dead_letter",
    metadata,
    Column("task_id", Id, primary_key=True),
    Column("reason", String(50), nullable=False),
    Column("content_type", String(255)),
    Column("content_encoding", String(50)),
    Column("headers", Long),
    Column("body", Long),
    Column("at", Moment, nullable=False, index=True),
)
Table(
    "celeriac_unique",
    metadata,
    Column("key", Id, primary_key=True),
    Column("task_id", Id, nullable=False),
    Column("until", Moment, nullable=False, index=True),
    sqlite_with_rowid=False,
)
Table(
    "celeriac_slot",
    metadata,
    Column("key", Id, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("task_id", Id, nullable=False),
    Column("run", String(64), nullable=False),
    Column("since", Moment, nullable=False),
    sqlite_with_rowid=False,
)
Table(
    "celeriac_rate",
    metadata,
    Column("key", Id, primary_key=True),
    Column("next", Moment, nullable=False, index=True),
    sqlite_with_rowid=False,
)


def upgrade() -> None:
    """Add the columns of a run, and the tables."""
    connection = op.get_bind()
    found = {column["name"] for column in inspect(connection).get_columns("celeriac_record")}
    for column in (
        Column("run", String(64)),
        Column("crashes", Integer, nullable=False, server_default="0"),
    ):
        if column.name not in found:
            op.add_column("celeriac_record", column)
    make(connection, metadata)
