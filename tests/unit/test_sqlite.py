"""The one place that opens our SQLite files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from flask_celeriac import sqlite, sqlite_opening
from flask_celeriac.errors import StorageError


@pytest.fixture
def file(tmp_path: Path) -> Iterator[sqlite.File]:
    file = sqlite.file_at(str(tmp_path / "some.db"))
    with file.transaction() as db:
        db.execute("CREATE TABLE t (x INTEGER UNIQUE)")
    yield file
    file.close()


def count(file: sqlite.File) -> int:
    with file.connection() as db:
        return int(db.execute("SELECT count(*) FROM t").fetchall()[0][0])


def test_the_sqlite_library_has_no_wal_reset_bug() -> None:
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    assert version >= (3, 51, 3)


def test_a_transaction_commits_at_its_end(file: sqlite.File) -> None:
    with file.transaction() as db:
        db.execute("INSERT INTO t VALUES (1)")
        assert db.in_transaction
    assert count(file) == 1


def test_a_transaction_that_fails_changes_nothing(file: sqlite.File) -> None:
    with pytest.raises(KeyError), file.transaction() as db:
        db.execute("INSERT INTO t VALUES (1)")
        raise KeyError
    assert count(file) == 0


def test_sqlites_errors_name_the_file(file: sqlite.File) -> None:
    with pytest.raises(StorageError, match=r"some\.db.*UNIQUE"), file.transaction() as db:
        db.execute("INSERT INTO t VALUES (1), (1)")
    assert count(file) == 0


def test_a_connection_is_usable_again_after_an_error(file: sqlite.File) -> None:
    for _ in range(3):
        with pytest.raises(StorageError), file.transaction() as db:
            db.execute("INSERT INTO nowhere VALUES (1)")
    with file.transaction() as db:
        db.execute("INSERT INTO t VALUES (1)")
    assert count(file) == 1


def test_a_busy_file_is_waited_for(file: sqlite.File) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with file.transaction() as db:
            db.execute("INSERT INTO t VALUES (1)")
            entered.set()
            leave.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(20)
    threading.Timer(0.2, leave.set).start()
    with file.transaction() as db:
        db.execute("INSERT INTO t VALUES (2)")
    thread.join()
    assert count(file) == 2


def test_a_file_that_stays_busy_is_an_error_with_a_remedy(
    file: sqlite.File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_opening, "BUSY_TIMEOUT", 0.1)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with file.transaction():
            entered.set()
            leave.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(20)
    try:
        with pytest.raises(StorageError, match="try again"), file.transaction():
            pass
    finally:
        leave.set()
        thread.join()
    with file.transaction() as db:
        db.execute("INSERT INTO t VALUES (1)")
    assert count(file) == 1


def test_readers_see_the_last_commit_while_somebody_writes(file: sqlite.File) -> None:
    with file.transaction() as db:
        db.execute("INSERT INTO t VALUES (1)")
        assert count(file) == 0
    assert count(file) == 1


def test_many_threads_write(file: sqlite.File) -> None:
    def write(first: int) -> None:
        for number in range(first, first + 50):
            with file.transaction() as db:
                db.execute("INSERT INTO t VALUES (?)", (number,))

    threads = [threading.Thread(target=write, args=(n * 50,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(file) == 400


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
def test_pragmas(file: sqlite.File, synchronous: str) -> None:
    with file.connection(synchronous) as db:
        assert db.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        assert db.execute("PRAGMA synchronous").fetchall() == [
            ({"NORMAL": 1, "FULL": 2}[synchronous],)
        ]
        assert db.execute("PRAGMA mmap_size").fetchall() in ([(0,)], [])


def test_the_same_path_is_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert sqlite.file_at(str(tmp_path / "a.db")) is sqlite.file_at(str(tmp_path / "link" / "a.db"))


def test_urls_and_paths() -> None:
    assert sqlite.path_of("celeriac:////var/lib/app/celeriac.db") == "/var/lib/app/celeriac.db"
    assert sqlite.path_of("celeriac:////with%20space.db") == "/with space.db"
    assert sqlite.url_of("/with space.db") == "celeriac:////with%20space.db"


def test_a_committed_transaction_survives_an_error_of_the_block_after_it(
    file: sqlite.File,
) -> None:
    with file.transaction() as db:
        db.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(StorageError), file.connection() as db:
        db.execute("SELECT * FROM nowhere")
    assert count(file) == 1


def test_nested_blocks_use_connections_of_their_own(file: sqlite.File) -> None:
    with file.connection() as outer, file.transaction() as inner:
        assert outer is not inner
        inner.execute("INSERT INTO t VALUES (1)")
        assert outer.execute("SELECT count(*) FROM t").fetchall() == [(0,)]
