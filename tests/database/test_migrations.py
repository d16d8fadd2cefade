"""The tables of older versions, brought to this one on each database."""

from __future__ import annotations

import subprocess
import sys
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flask_celeriac import database, sqlite, tables
from flask_celeriac import states as record_states
from flask_celeriac.errors import StorageError, StorageUnavailableError
from flask_celeriac.migrations import running
from tests.database import dump
from tests.database.conftest import RESULTS, expected_rows, make_old, rows_of
from tests.system.other import Other


def names(engine: sa.Engine) -> set[str]:
    return {name for name in sa.inspect(engine).get_table_names() if "celeriac_" in name}


ALL = {*tables.metadata.tables, "celeriac_alembic_version"}


def is_as_described(engine: sa.Engine) -> bool:
    """Whether nothing would have to be changed, and nothing is left of older versions."""
    with engine.connect() as connection:
        found = running.differences(connection)
    assert found == []
    return names(engine) == ALL and database.version_of(engine) == tables.SCHEMA_VERSION


@pytest.mark.parametrize("name", dump.DIALECTS)
def test_the_dump_in_the_repository_is_of_these_tables(name: str) -> None:
    found = dump.everything(dump.DIALECTS[name])
    assert found == dump.file_of(name).read_text(), "run `python -m tests.database.dump`"


def test_new_tables_are_as_described(url: str) -> None:
    engine = database.engine_for(url)
    assert is_as_described(engine)
    engine.dispose()


def test_the_scripts_alone_make_them_too(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        running.upgrade(connection)
    assert is_as_described(engine)


def test_old_results_are_kept(old: sa.Engine) -> None:
    database.bring_up(old)
    assert is_as_described(old)
    assert rows_of(old) == expected_rows()
    with old.connect() as connection:
        for name in ("group", "chord_part"):
            count = connection.execute(sa.text(f"SELECT count(*) FROM celeriac_{name}")).scalar()
            assert count == 1


def test_the_states_are_those_of_the_result_backend() -> None:
    assert {word: record_states.of_celery(word) for word in RESULTS} == RESULTS


def test_the_first_version_had_no_chords(old: sa.Engine) -> None:
    with old.begin() as connection:
        for name in ("chord", "chord_part"):
            connection.execute(sa.text(f"DROP TABLE celeriac_{name}"))
        connection.execute(sa.text("UPDATE celeriac_schema SET version = 1"))
    database.bring_up(old)
    assert is_as_described(old)
    assert rows_of(old) == expected_rows()


def test_an_old_database_says_what_to_do_and_an_old_file_is_upgraded(
    old: sa.Engine, url: str
) -> None:
    if url.startswith("celeriac:"):
        assert rows_of(database.engine_for(url)) == expected_rows()
        return
    with pytest.raises(StorageError, match=r"version 2.* `flask celery db upgrade`"):
        database.engine_for(url)
    assert "celeriac_schema" in names(old)


def come(url: str, pipe: Pipe) -> None:
    pipe.send("here")
    pipe.recv()
    try:
        engine = database.unprepared(url)
        database.bring_up(engine)
        pipe.send(rows_of(engine) == expected_rows())
        engine.dispose()
    except BaseException as error:
        pipe.send(repr(error))
        raise


def test_processes_may_upgrade_at_once(old: sa.Engine, url: str) -> None:
    others = [Other(come, url) for _ in range(4)]
    for other in others:
        assert other.receive() == "here"
    for other in others:
        other.send("go")
    said = []
    for other in others:
        with other:
            said.append(other.receive())
    assert said == [True] * 4
    assert is_as_described(old)


class Interrupted(Exception):
    pass


def interrupt(engine: sa.Engine, after: int) -> bool:
    """Upgrade, but stop before a statement that writes; False where there were not so many."""
    count = 0

    def look(_: Any, __: Any, statement: str, *___: Any) -> None:
        nonlocal count
        if statement.lstrip().startswith(("CREATE", "DROP", "ALTER", "INSERT", "UPDATE")):
            if count == after:
                raise Interrupted
            count += 1

    sa.event.listen(engine, "before_cursor_execute", look)
    try:
        database.bring_up(engine)
    except Interrupted:
        return True
    finally:
        sa.event.remove(engine, "before_cursor_execute", look)
    return False


def test_an_interrupted_upgrade_goes_on(engine: sa.Engine) -> None:
    """At whichever statement, also where each commits by itself, as in MySQL."""
    statements = 0
    while True:
        make_old(engine)
        was_interrupted = interrupt(engine, statements)
        database.bring_up(engine)
        assert rows_of(engine) == expected_rows(), statements
        if not was_interrupted:
            break
        statements += 1
        with engine.begin() as connection:
            for name in names(engine):
                connection.execute(sa.text(f"DROP TABLE {name}"))
    assert statements >= 10
    assert is_as_described(engine)


def test_a_first_use_that_was_interrupted_goes_on(engine: sa.Engine) -> None:
    assert interrupt(engine, 7)
    database.bring_up(engine)
    assert is_as_described(engine)


def test_a_newer_version_is_left_alone(url: str) -> None:
    engine = database.engine_for(url)
    with engine.begin() as connection:
        connection.execute(tables.revision.update().values(version_num="0099"))
    with pytest.raises(StorageError, match=r"version 99.* upgrade flask-celeriac"):
        database.version_of(engine)
    engine.dispose()


def test_it_works_beside_the_applications_own_alembic(old: sa.Engine) -> None:
    with old.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('theirs')"))
    database.bring_up(old)
    with old.connect() as connection:
        found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars()
        assert found.all() == ["theirs"]
    assert is_as_described(old)


def test_who_waits_for_another_upgrade_is_told(
    mariadb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_PATIENCE", 0)
    engine = database.unprepared("mysql+pymysql:" + mariadb_url.partition(":")[2])
    with database._alone(engine), pytest.raises(StorageUnavailableError, match="another process"):
        database.bring_up(engine)
    database.bring_up(engine)
    engine.dispose()


OPEN = """
import sys
from flask_celeriac import database
database.engine_for(sys.argv[1]).dispose()
print("alembic" in sys.modules)
"""


def test_opening_what_is_up_to_date_does_not_import_alembic(tmp_path: Path) -> None:
    url = sqlite.url_of(str(tmp_path / "celeriac.db"))
    done = subprocess.run(
        [sys.executable, "-c", OPEN, url], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"


def test_an_upgraded_file_is_the_same_as_a_new_one(tmp_path: Path) -> None:
    """To the letter of what SQLite keeps of its tables."""
    found = []
    for name in ("old", "new"):
        url = sqlite.url_of(str(tmp_path / f"{name}.db"))
        engine = database.unprepared(url)
        if name == "old":
            make_old(engine)
        database.bring_up(engine)
        with engine.connect() as connection:
            sql = sa.text("SELECT name, sql FROM sqlite_schema ORDER BY name")
            rows = connection.execute(sql)
            found.append([(row.name, " ".join((row.sql or "").split())) for row in rows])
        engine.dispose()
    assert found[0] == found[1]
