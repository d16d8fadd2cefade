"""The tables as SQL, one file for each kind of database.

``python -m tests.database.dump`` writes ``tests/database/schema.*.sql``. The diff of a change to
the tables is what a script of ``migrations`` has to do.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Dialect, MetaData
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from flask_celeriac.tables import metadata, outbox_metadata

FOLDER = Path(__file__).parent
DIALECTS: dict[str, Dialect] = {
    "sqlite": sqlite.dialect(),
    "postgresql": postgresql.dialect(),
    "mariadb": mysql.dialect(),
}


def dump(tables: MetaData, dialect: Dialect) -> str:
    statements = []
    for table in sorted(tables.sorted_tables, key=lambda table: table.name):
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [str(CreateIndex(index).compile(dialect=dialect)) for index in indexes]
    lines = (line.rstrip() for text in statements for line in (text.strip() + ";").splitlines())
    return "\n".join(lines).replace("\t", "    ") + "\n"


def everything(dialect: Dialect) -> str:
    """All tables, those of the application's own database last."""
    return dump(metadata, dialect) + dump(outbox_metadata, dialect)


def file_of(name: str) -> Path:
    return FOLDER / f"schema.{name}.sql"


if __name__ == "__main__":
    for name, dialect in DIALECTS.items():
        file_of(name).write_text(everything(dialect))
