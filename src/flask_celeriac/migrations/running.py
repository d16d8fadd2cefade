"""The scripts run by Alembic, in a transaction that the caller has opened."""

from __future__ import annotations

import os
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from ..tables import metadata, revision


def upgrade(connection: Connection) -> None:
    """Bring the tables to this version."""
    config = Config()
    # Values of this file know %-signs.
    scripts = os.path.join(os.path.dirname(__file__), "scripts").replace("%", "%%")
    config.set_main_option("script_location", scripts)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def differences(connection: Connection, tables: MetaData = metadata) -> list[Any]:
    """What would have to be changed for the tables to be as this version describes them."""

    def is_ours(name: str | None, kind: str, parents: Any) -> bool:
        return kind != "table" or name in tables.tables

    context = MigrationContext.configure(
        connection, opts={"version_table": revision.name, "include_name": is_ours}
    )
    return list(compare_metadata(context, tables))


def in_words(difference: Any) -> str:
    """One of :func:`differences`, for people: what would have to be done, and to what."""
    if isinstance(difference, list):  # several about one column
        verb, _, table, column = difference[0][:4]
        return f"{verb.replace('_', ' ')} of {table}.{column}"
    verb, thing = difference[0], difference[-1]
    where = difference[2] if len(difference) > 2 else getattr(thing, "table", None)
    name = getattr(thing, "name", thing)
    return f"{verb.replace('_', ' ')} {name if where is None else f'{where}.{name}'}"
