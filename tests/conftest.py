"""Fixtures for every test: real servers, each test alone on its piece of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support import pieces, services
from tests.support.leaks import _nothing_left_behind  # noqa: F401 - a fixture
from tests.support.processes import free_port
from tests.support.redis_server import (  # noqa: F401 - hooks
    pytest_configure,
    pytest_unconfigure,
)
from tests.support.scheduling import pytest_xdist_make_scheduler  # noqa: F401 - a hook
from tests.support.skips import (  # noqa: F401 - hooks
    pytest_make_collect_report,
    pytest_runtest_makereport,
)

# The processes of one run start a thousand times: none of them compiles the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture
def redis_url() -> Iterator[str]:
    """An empty Redis database that no other test uses, here or in another run."""
    with pieces.redis_database() as url:
        yield url


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A new PostgreSQL database."""
    with pieces.sql_database(services.POSTGRES, drop="DROP DATABASE {} WITH (FORCE)") as url:
        yield url


@pytest.fixture
def mariadb_url() -> Iterator[str]:
    """A new MariaDB database."""
    with pieces.sql_database(services.MARIADB, drop="DROP DATABASE {}") as url:
        yield url


@pytest.fixture
def rabbitmq_url() -> Iterator[str]:
    """A new RabbitMQ virtual host."""
    with pieces.rabbitmq_vhost() as url:
        yield url


@pytest.fixture
def unused_tcp_port() -> int:
    """A port that nothing listens on right now."""
    return free_port()
