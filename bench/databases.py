"""New databases on the servers of this machine, for as long as something is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import pieces, services


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a new PostgreSQL database."""
    with pieces.sql_database(services.POSTGRES, drop="DROP DATABASE {} WITH (FORCE)") as url:
        yield "postgresql+psycopg:" + url.partition(":")[2]


@contextmanager
def mariadb() -> Iterator[str]:
    """The URL of a new MariaDB database."""
    with pieces.sql_database(services.MARIADB, drop="DROP DATABASE {}") as url:
        yield "mysql+pymysql:" + url.partition(":")[2]
