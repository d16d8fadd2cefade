"""``flask celery db``, with a worker beside it and with damage."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import ScriptInfo

from flask_celeriac import Celeriac, database, sqlite
from flask_celeriac.broker import schema
from flask_celeriac.cli import celery as celery_group
from tests.broker.damage import garbage, write_over
from tests.cli.terminal import FLASK, Terminal

APP = """
from flask import Flask
from flask_celeriac import Celeriac

app = Flask(__name__)
celeriac = Celeriac(app)


@celeriac.task
def add(a: int, b: int) -> int:
    return a + b
"""


class Shop:
    """The application, its file, and the commands as ``flask`` would call them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = Flask("shop", instance_path=str(folder / "instance"), root_path=str(folder))
        self.celeriac = Celeriac()
        self.path = folder / "instance" / "celeriac" / "celeriac.db"

        @self.celeriac.task(name="app.add")
        def add(a: int, b: int) -> int:
            return a + b

        self.add = add

    def send(self, count: int) -> None:
        """Send tasks, and leave nothing open, as a process that has ended."""
        with self.app.app_context():
            for number in range(count):
                self.add.delay(number, 1)
        sqlite.file_at(str(self.path)).close()

    def db(self, *command: str) -> Result:
        done = CliRunner().invoke(
            celery_group, ["db", *command], obj=ScriptInfo(create_app=lambda: self.app)
        )
        sqlite.file_at(str(self.path)).close()
        return done


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.chdir(tmp_path)
    shop = Shop(tmp_path)
    shop.celeriac.init_app(shop.app)
    return shop


def test_backup_and_check_while_a_worker_runs(shop: Shop) -> None:
    (shop.folder / "app.py").write_text(APP)
    command = (*FLASK, "celery", "worker", "-P", "solo")
    with Terminal(*command, cwd=shop.folder) as worker:
        worker.shows(r"celery@.* ready\.")
        shop.send(3)
        worker.shows("succeeded in", times=3)
        made = shop.db("backup", "backup.db")
        assert made.exit_code == 0, made.output
        assert "checked and whole" in made.output
        assert f"copy it to {shop.path}" in made.output
        assert stat.S_IMODE(os.stat("backup.db").st_mode) == 0o600

        again = shop.db("backup", "backup.db")
        assert again.exit_code == 1
        assert "--force" in again.stderr
        assert shop.db("backup", "--force", "backup.db").exit_code == 0

        checked = shop.db("check")
        assert checked.exit_code == 0, checked.output
        assert str(shop.path) in checked.output
        assert (
            f"schema     queue {schema.VERSION}, records {database.SCHEMA_VERSION}"
            in checked.output
        )
        assert "integrity  ok" in checked.output

        salvaged = shop.db("salvage")
        assert salvaged.exit_code == 0
        assert "nothing to salvage" in salvaged.output
        worker.press(signal.SIGTERM)
        assert worker.ends() == 0


def test_check_tells_of_a_queue_that_a_newer_version_made(shop: Shop) -> None:
    shop.send(1)
    with sqlite.file_at(str(shop.path)).transaction() as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    checked = shop.db("check")
    assert checked.exit_code == 1, checked.output
    assert f"schema     queue {schema.VERSION + 1}, records" in checked.output
    assert "newer Flask-Celeriac" in checked.output
    assert "upgrade flask-celeriac here too" in checked.output
    # It is not damaged, and salvaging it would help nobody.
    assert "integrity  ok" in checked.output
    assert "salvage" not in checked.output


def test_a_backup_put_in_the_files_place_brings_the_tasks_back(shop: Shop) -> None:
    shop.send(3)
    assert shop.db("backup", "backup.db").exit_code == 0
    for end in ("", "-wal", "-shm"):
        Path(f"{shop.path}{end}").unlink(missing_ok=True)
    Path("backup.db").rename(shop.path)
    with sqlite.file_at(str(shop.path)).connection() as db:
        assert db.execute("SELECT count(*) FROM message").fetchall() == [(3,)]
    shop.send(1)


def test_a_damaged_file_is_told_by_check_and_salvaged(shop: Shop) -> None:
    shop.send(200)
    write_over(shop.path, shop.path.stat().st_size // 4096 // 2, 4)
    checked = shop.db("check")
    assert checked.exit_code == 1
    assert "flask celery db salvage" in checked.output

    salvaged = shop.db("salvage")
    assert salvaged.exit_code == 0, salvaged.output
    (aside,) = shop.path.parent.glob("celeriac.db.damaged-*Z")
    assert str(aside) in salvaged.output
    rows = [line.split() for line in salvaged.output.splitlines()]
    counts = {row[1]: int(row[0]) for row in rows if row[0].isdigit()}
    counts |= {row[1].rstrip(","): int(row[0]) for row in rows if row[1].endswith(",")}
    assert 100 < counts["messages"] < 200
    assert f"{counts['messages']} messages, and others that could not be read" in salvaged.output
    assert shop.db("check").exit_code == 0

    assert shop.db("salvage", "--from", str(aside)).exit_code == 0
    assert aside.exists()
    with sqlite.file_at(str(shop.path)).connection() as db:
        count = db.execute("SELECT count(*) FROM message").fetchall()
    assert count == [(counts["messages"],)]  # none is there twice


def test_the_file_in_use_is_not_copied_into_itself(shop: Shop) -> None:
    shop.send(3)
    refused = shop.db("salvage", "--from", str(shop.path))
    assert refused.exit_code == 1
    assert "is the file in use" in refused.stderr
    with sqlite.file_at(str(shop.path)).connection() as db:
        assert db.execute("SELECT count(*) FROM message").fetchall() == [(3,)]


@pytest.mark.parametrize("content", [b"", b"hello", b"x" * 8192, None])
def test_a_file_of_something_else_is_not_salvaged(shop: Shop, content: bytes | None) -> None:
    shop.send(3)
    if content is None:
        other = apsw.Connection("other.file")
        other.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
        other.close()
    else:
        Path("other.file").write_bytes(content)
    refused = shop.db("salvage", "--from", "other.file")
    assert refused.exit_code == 1
    assert "nothing of ours could be read in it" in refused.stderr
    assert Path("other.file").exists()


def test_a_damaged_file_in_use_stays_where_it_is(shop: Shop) -> None:
    shop.send(200)
    with sqlite.file_at(str(shop.path)).connection():
        write_over(shop.path, shop.path.stat().st_size // 4096 // 2, 4)
        salvaged = shop.db("salvage")
    assert salvaged.exit_code == 1
    assert "is open in this very process" in salvaged.stderr
    assert shop.path.exists()


def test_garbage_is_one_line_and_a_new_file_after_salvage(shop: Shop) -> None:
    shop.send(1)
    garbage(shop.path)
    for command in ("check", "backup backup.db"):
        told = shop.db(*command.split())
        assert told.exit_code == 1
        (line,) = told.stderr.splitlines()
        assert line.startswith(f"Error: {shop.path}: file is not a database")
        assert "flask celery db salvage" in line
    assert shop.db("salvage").exit_code == 0
    assert shop.db("check").exit_code == 0


@pytest.mark.parametrize("command", ["check", "backup backup.db", "salvage"])
def test_a_broker_that_is_a_server_has_tools_of_its_own(shop: Shop, command: str) -> None:
    shop.app = Flask("shop")
    url = "redis://:hush@127.0.0.1:1/0"
    shop.app.config["CELERY"] = {"broker_url": url, "result_backend": url}
    shop.celeriac.init_app(shop.app)
    told = shop.db(*command.split())
    assert told.exit_code == 1
    (line,) = told.stderr.splitlines()
    assert "go through redis" in line
    assert "server's own tools" in line
    assert "hush" not in line


@pytest.mark.parametrize("command", ["check", "backup backup.db", "salvage"])
def test_a_file_that_is_not_there_is_not_made(shop: Shop, command: str) -> None:
    told = shop.db(*command.split())
    assert told.exit_code == 1
    assert "made when the first task is sent" in told.stderr
    assert not shop.path.exists()
