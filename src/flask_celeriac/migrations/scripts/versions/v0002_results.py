"""Results, groups and chords, as the first version had them."""

from alembic import op
from sqlalchemy import Column, Float, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import mysql

from flask_celeriac.migrations.making import make

revision = "0002"
down_revision = None

metadata = MetaData()
Long = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
Id = String(255).with_variant(mysql.VARCHAR(255, collation="utf8mb4_bin"), "mysql", "mariadb")
Moment = Float(53).with_variant(mysql.DOUBLE(asdecimal=False), "mysql", "mariadb")

Table(
    "celeriac_record",
    metadata,
    Column("task_id", Id, primary_key=True),
    Column("state", String(50), nullable=False),
    Column("result", Long),
    Column("traceback", Long),
    Column("children", Long),
    Column("details", Long),
    Column("finished", Moment),
    Column("updated", Moment, nullable=False),
    Index("celeriac_record_updated", "updated"),
    sqlite_with_rowid=False,
)
Table(
    "celeriac_group",
    metadata,
    Column("group_id", Id, primary_key=True),
    Column("result", Long, nullable=False),
    Column("created", Moment, nullable=False, index=True),
)
Table(
    "celeriac_chord",
    metadata,
    Column("group_id", Id, primary_key=True),
    Column("size", Integer),
    Column("added", Integer, nullable=False),
    Column("returned", Integer, nullable=False),
    Column("members", Long),
    Column("body", Long),
    Column("due", Moment, index=True),
    Column("claimed_by", Id),
    Column("claimed_until", Moment),
    Column("claims", Integer, nullable=False),
    Column("sent", Moment),
    Column("updated", Moment, nullable=False, index=True),
)
Table(
    "celeriac_chord_part",
    metadata,
    Column("group_id", Id, primary_key=True),
    Column("task_id", Id, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("state", String(50), nullable=False),
    Column("result", Long),
    sqlite_with_rowid=False,
)


def upgrade() -> None:
    """Make what is missing: these may have been made before Alembic looked after them."""
    make(op.get_bind(), metadata)
