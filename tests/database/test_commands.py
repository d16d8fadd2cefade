"""``flask celery db upgrade``, ``current`` and ``check`` on each database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import ScriptInfo

from flask_celeriac import Celeriac, tables
from flask_celeriac.cli import celery as celery_group
from tests.database.conftest import expected_rows, rows_of

Db = Callable[..., Result]


def commands(url: str | None, tmp_path: Path) -> Db:
    """``flask celery db`` of an application whose records are in a database."""
    app = Flask("shop", instance_path=str(tmp_path / "instance"))
    if url is not None and url.startswith("celeriac:"):
        app.config["CELERY"] = {"broker_url": url}
    else:
        app.config |= {"CELERIAC_DATABASE": url, "CELERY": {"broker_url": "memory://"}}
    Celeriac(app)
    obj = ScriptInfo(create_app=lambda: app)
    return lambda *command: CliRunner().invoke(celery_group, ["db", *command], obj=obj)


@pytest.fixture
def db(url: str, tmp_path: Path) -> Db:
    return commands(url, tmp_path)


def test_old_tables_are_told_and_upgraded(db: Db, old: sa.Engine, url: str) -> None:
    told = db("current")
    assert told.exit_code == 0, told.output
    assert (
        f"version 2, version {tables.SCHEMA_VERSION} is needed: run `flask celery db upgrade`"
        in told.output
    )
    if not url.startswith("celeriac:"):
        assert db("check").exit_code == 1

    upgraded = db("upgrade")
    assert upgraded.exit_code == 0, upgraded.output
    assert f"tables upgraded from version 2 to {tables.SCHEMA_VERSION}" in upgraded.output
    assert rows_of(old) == expected_rows()

    assert (
        f"nothing to do, its tables are at version {tables.SCHEMA_VERSION}" in db("upgrade").output
    )
    assert f"version {tables.SCHEMA_VERSION}, the newest" in db("current").output
    checked = db("check")
    assert checked.exit_code == 0, checked.output


def test_no_tables_and_a_table_that_was_changed(db: Db, engine: sa.Engine, url: str) -> None:
    if url.startswith("celeriac:"):
        told = db("upgrade")
        assert told.exit_code == 1
        assert "made when the first task is sent" in told.stderr
        return
    assert "no tables yet" in db("current").output
    assert db("check").exit_code == 0
    assert f"tables made, version {tables.SCHEMA_VERSION}" in db("upgrade").output
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE celeriac_record DROP COLUMN trace_id"))
        connection.execute(sa.text("ALTER TABLE celeriac_pause ADD COLUMN colour VARCHAR(10)"))
    checked = db("check")
    assert checked.exit_code == 1
    assert "differ: add column celeriac_record.trace_id" in checked.output
    assert "differ: remove column celeriac_pause.colour" in checked.output


@pytest.mark.parametrize("command", ["upgrade", "current", "check"])
def test_a_database_that_cannot_be_reached_is_told_in_a_line(
    tmp_path: Path, unused_tcp_port: int, command: str
) -> None:
    url = f"postgresql+psycopg://shop:hush@127.0.0.1:{unused_tcp_port}/shop"
    told = commands(url, tmp_path)(command)
    assert told.exit_code == 3
    (line,) = told.stderr.splitlines()
    assert "cannot be reached" in line
    assert "hush" not in line


def test_without_records_there_is_nothing_to_upgrade(tmp_path: Path) -> None:
    told = commands(None, tmp_path)("upgrade")
    assert told.exit_code == 1
    assert "records nothing: set CELERIAC_DATABASE" in told.stderr
