"""A result backend on each database that may hold the records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from flask_celeriac import sqlite
from flask_celeriac.records.backend import Backend
from tests.system.tasks import client

DATABASES = ["embedded", "postgresql", "mariadb"]


def database_url(request: pytest.FixtureRequest, name: str, path: Path) -> str:
    """The result backend's URL on one of :data:`DATABASES`, empty."""
    if name == "embedded":
        return sqlite.url_of(str(path / "celeriac.db"))
    fixture, driver = {
        "postgresql": ("postgres_url", "postgresql+psycopg"),
        "mariadb": ("mariadb_url", "mysql+pymysql"),
    }[name]
    url: str = request.getfixturevalue(fixture)
    return f"celeriac+{driver}:" + url.partition(":")[2]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return database_url(request, request.param, tmp_path)


@pytest.fixture
def app(url: str) -> Iterator[Celery]:
    """An application whose results are in the database; its broker is never used."""
    with client(url, broker="memory://") as app:
        yield app


@pytest.fixture
def backend(app: Celery) -> Backend:
    found = app.backend
    assert isinstance(found, Backend)
    return found
