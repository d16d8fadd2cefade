"""Tables made where they are missing, as often as one likes."""

from __future__ import annotations

from sqlalchemy import Connection, MetaData


def make(connection: Connection, metadata: MetaData) -> None:
    """Make the tables that are missing, and the indexes, where it was interrupted in between."""
    for table in metadata.sorted_tables:
        table.create(connection, checkfirst=True)
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            index.create(connection, checkfirst=True)
