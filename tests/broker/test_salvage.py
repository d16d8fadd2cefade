"""A damaged file is told of at once, set aside, and what can be read of it is kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError

from flask_celeriac import sqlite
from flask_celeriac.errors import StorageError, StorageUnavailableError
from flask_celeriac.examination import examine
from flask_celeriac.exclusive import set_aside
from flask_celeriac.sqlite_opening import APPLICATION
from tests.broker import processes
from tests.broker.conftest import Connect
from tests.broker.damage import FOREIGN, SEEN_AT_ONCE, cut_off, garbage, in_the_middle, no_header
from tests.broker.messages import Receiver, put, size
from tests.system.other import Other
from tests.system.tasks import client

Damage = Callable[[Path], None]


def fill(path: Path, count: int = 400) -> None:
    """A file with messages and nobody who uses it."""
    url = sqlite.url_of(str(path))
    with Connection(url) as connection:
        put(connection, *(f"{number} {'x' * 2000}" for number in range(count)))
    sqlite.file_at(str(path)).close()


def name(thing: Callable[[Path], None]) -> str:
    return thing.__name__


@pytest.mark.parametrize("damage", SEEN_AT_ONCE, ids=name)
def test_a_damaged_file_is_a_lasting_error_with_the_remedy(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "celeriac.db"
    fill(path)
    damage(path)
    damaged = path.read_bytes()
    with (
        pytest.raises(StorageError, match="flask celery db salvage") as told,
        sqlite.file_at(str(path)).connection() as db,
    ):
        db.execute("SELECT count(*) FROM message").fetchall()
    assert not isinstance(told.value, StorageUnavailableError)
    with (
        pytest.raises((StorageError, OperationalError), match="flask celery db salvage"),
        Connection(sqlite.url_of(str(path))) as connection,
    ):
        put(connection, 1)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("damage", FOREIGN, ids=name)
def test_the_database_of_another_application_is_left_alone(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "shop.db"
    damage(path)
    before = path.read_bytes()
    url = sqlite.url_of(str(path))
    with (
        pytest.raises((StorageError, OperationalError), match="another application"),
        Connection(url) as connection,
    ):
        put(connection, 1)
    with pytest.raises(StorageError, match="another application"), client(url) as app:
        app.backend.store_result("some-id", 1, "SUCCESS")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "celeriac.db"
    path.touch()
    with Connection(sqlite.url_of(str(path))) as connection:
        put(connection, 1)
        assert size(connection) == 1
    sqlite.file_at(str(path)).close()


def test_a_file_from_before_the_mark_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "celeriac.db"
    fill(path, 3)
    with sqlite.file_at(str(path)).transaction() as db:
        db.execute("PRAGMA application_id = 0")
    sqlite.file_at(str(path)).close()
    with Connection(sqlite.url_of(str(path))) as connection:
        assert size(connection) == 3
    with sqlite.file_at(str(path)).connection() as db:
        assert db.pragma("application_id") == APPLICATION
    sqlite.file_at(str(path)).close()


def salvaged(path: Path) -> tuple[str, dict[str, int]]:
    """What ``flask celery db salvage`` does, in a process of its own as well."""
    with Other(processes.salvage, str(path)) as other:
        aside, counts = other.receive(90)
    return aside, counts


@pytest.mark.parametrize(
    ("damage", "least", "most"),
    [(in_the_middle, 300, 399), (cut_off, 50, 399), (no_header, 0, 0), (garbage, 0, 0)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_can_be_read_runs_in_the_old_order(
    tmp_path: Path, damage: Damage, least: int, most: int
) -> None:
    path = tmp_path / "celeriac.db"
    fill(path)
    damage(path)
    damaged = path.read_bytes()
    aside, counts = salvaged(path)
    assert Path(aside).read_bytes() == damaged
    kept = counts["message"]
    assert least <= kept <= most
    with Connection(sqlite.url_of(str(path))) as connection:
        put(connection, "new")
        bodies = Receiver(connection, "jobs").drain(kept + 1).bodies
    numbers = [int(body.split()[0]) for body in bodies[:-1]]
    assert numbers == sorted(set(numbers))
    assert bodies[-1] == "new"
    assert examine(sqlite.file_at(str(path))).complaints == []
    sqlite.file_at(str(path)).close()


def test_claims_and_results_and_bindings_are_kept_but_processes_are_not(tmp_path: Path) -> None:
    path = tmp_path / "celeriac.db"
    url = sqlite.url_of(str(path))
    with client(url) as app:
        app.backend.store_result("done", 42, "SUCCESS")
        app.tasks["add"].delay(1, 2)
        app.tasks["add"].apply_async((3, 4), countdown=3600)
    with Other(processes.claim_and_wait, url, "celery", 1) as other:
        assert len(other.receive(90)) == 1
        other.kill()
    _, counts = salvaged(path)
    assert counts["message"] == 2
    assert counts["celeriac_record"] == 1
    assert counts["binding"] >= 1
    with client(url) as app:
        assert app.AsyncResult("done").get(timeout=10) == 42
        with sqlite.file_at(str(path)).connection() as db:
            found = db.execute("SELECT claim, claims, due IS NULL FROM message ORDER BY id")
            assert found.fetchall() == [(None, 1, 1), (None, 0, 0)]
            assert db.execute("SELECT count(*) FROM process").fetchall() == [(0,)]


def test_the_newest_commits_are_read_from_the_log(tmp_path: Path) -> None:
    """A process that is killed leaves them there."""
    path = tmp_path / "celeriac.db"
    fill(path, 5)
    with Other(processes.put_many, sqlite.url_of(str(path)), "jobs", 5, 5) as other:
        assert other.receive(90) == "done"
        with sqlite.file_at(str(path)).connection():
            other.kill()
    with Other(processes.put_and_wait, sqlite.url_of(str(path)), "jobs") as other:
        assert other.receive(90) == "put"
        sqlite.file_at(str(path)).close()
        other.kill()
    assert os.path.getsize(f"{path}-wal")
    aside, counts = salvaged(path)
    assert counts["message"] == 11
    assert os.path.getsize(f"{aside}-wal")
    sqlite.file_at(str(path)).close()


def test_a_file_in_use_is_not_set_aside(connect: Connect, path: str, url: str) -> None:
    with Other(processes.claim_and_wait, url, "jobs", 1) as worker:
        put(connect(), 1)
        worker.receive(90)
        sqlite.file_at(path).close()
        with pytest.raises(StorageError, match="stop the workers"):
            set_aside(sqlite.file_at(path))
    with Other(processes.put_and_wait, url, "jobs") as web:
        assert web.receive(90) == "put"
        sqlite.file_at(path).close()
        with pytest.raises(StorageError, match=rf"process {web.pid}\).*web server"):
            set_aside(sqlite.file_at(path))
    assert os.path.exists(path)


def test_a_worker_that_cannot_read_the_file_is_seen_all_the_same(tmp_path: Path) -> None:
    """A damaged header keeps SQLite from locking; the life lock is held."""
    path = tmp_path / "celeriac.db"
    url = sqlite.url_of(str(path))
    with Other(processes.claim_and_wait, url, "jobs", 1) as worker, Connection(url) as connection:
        put(connection, 1)
        worker.receive(90)
        sqlite.file_at(str(path)).close()
        garbage(path)
        with pytest.raises(StorageError, match="is in use"):
            set_aside(sqlite.file_at(str(path)))


def test_a_process_that_met_the_damaged_file_finds_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "celeriac.db"
    garbage(path)
    with (
        pytest.raises((StorageError, OperationalError)),
        Connection(sqlite.url_of(str(path))) as connection,
    ):
        put(connection, 1)
    os.rename(path, tmp_path / "aside")
    with Connection(sqlite.url_of(str(path))) as connection:
        put(connection, 1)
        assert size(connection) == 1
    sqlite.file_at(str(path)).close()
