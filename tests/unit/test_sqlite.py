"""The one place that opens our SQLite files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import apsw
import pytest

from flask_celeriac import sqlite, sqlite_opening
from flask_celeriac.errors import StorageError
from tests.system.other import Other


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


def test_a_transaction_that_cannot_be_rolled_back_leaves_no_connection_behind(
    tmp_path: Path,
) -> None:
    """Another one would find it open, and fail, and so would every one after that."""
    file = sqlite.file_at(str(tmp_path / "celeriac.db"))

    def refuse(operation: int, name: str | None, *_: object) -> int:
        rolls_back = operation == apsw.SQLITE_TRANSACTION and name == "ROLLBACK"
        return apsw.SQLITE_DENY if rolls_back else apsw.SQLITE_OK

    with pytest.raises(KeyError), file.transaction() as db:
        db.execute("CREATE TABLE here (x)")
        db.authorizer = refuse
        raise KeyError
    with file.transaction() as db:
        assert db.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    file.close()


class Interrupted:
    """A connection in which a signal's handler raises when a transaction has begun."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def execute(self, *statement: Any) -> None:
        self._connection.execute(*statement)
        raise KeyboardInterrupt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_an_interrupted_transaction_holds_nobody_up(
    file: sqlite.File, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = file.acquire
    monkeypatch.setattr(file, "acquire", lambda mode: Interrupted(acquire(mode)))
    with pytest.raises(KeyboardInterrupt), file.transaction():
        pass
    monkeypatch.setattr(sqlite_opening, "BUSY_TIMEOUT", 0.0)
    other = apsw.Connection(file.path)
    other.execute("BEGIN IMMEDIATE")
    other.execute("ROLLBACK")
    other.close()


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


def put_number(file: sqlite.File, number: int) -> None:
    with file.transaction() as db:
        db.execute("INSERT INTO t VALUES (?)", (number,))


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look each time, and not once a second."""
    monkeypatch.setattr(sqlite, "LOOK_EVERY", -1.0)


@pytest.mark.usefixtures("looking")
@pytest.mark.parametrize("replace", [True, False])
def test_a_file_that_is_taken_away_is_noticed(file: sqlite.File, replace: bool) -> None:
    put_number(file, 1)
    path = Path(file.path)
    if replace:
        path.rename(path.with_name("moved.db"))
        path.touch()
    else:
        path.unlink()
    with pytest.raises(StorageError, match=r"deleted or replaced.*start the process anew"):
        put_number(file, 2)
    with pytest.raises(StorageError, match="deleted or replaced"):
        put_number(file, 2)
    file.close()  # as a new process would begin
    assert sqlite.File(file.path)._identity == ()


@pytest.mark.usefixtures("looking")
def test_a_log_that_was_deleted_in_use_is_noticed(file: sqlite.File) -> None:
    put_number(file, 1)
    Path(f"{file.path}-wal").unlink()
    with pytest.raises(StorageError, match="its log was deleted"):
        put_number(file, 2)


@pytest.mark.usefixtures("looking")
def test_locks_lost_to_a_stray_open_cost_nothing(tmp_path: Path) -> None:
    """SQLite itself resists that since 3.51; before, the next to close deleted the log in use."""
    path = str(tmp_path / "some.db")
    with Other(lose_locks, path) as victim:
        assert victim.receive(60) == "lost"
        with Other(open_and_close, path) as other:
            assert other.receive(60) == [(1,)]
            assert other.join(60) == 0
        victim.send("go on")
        assert victim.receive(60) == "written"
        victim.kill()
    file = sqlite.file_at(path)
    assert count(file) == 2
    file.close()


def lose_locks(path: str, pipe: Pipe) -> None:
    """Open and close the file by its name, and go on writing."""
    file = sqlite.file_at(path)
    with file.transaction() as db:
        db.execute("CREATE TABLE t (x INTEGER UNIQUE)")
    put_number(file, 1)
    Path(path).open("rb").close()
    pipe.send("lost")
    pipe.recv()
    put_number(file, 2)
    pipe.send("written")
    pipe.recv()


@pytest.mark.usefixtures("looking")
def test_what_others_do_to_the_file_in_good_order_is_no_alarm(file: sqlite.File) -> None:
    put_number(file, 1)
    with Other(open_and_close, file.path) as other:
        assert other.receive(60) == [(1,)]
        assert other.join(60) == 0
    with file.connection() as db:
        db.execute("VACUUM")
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    put_number(file, 2)
    file.close()
    with Other(open_and_close, file.path) as other:
        assert other.receive(60) == [(1,), (2,)]
        assert other.join(60) == 0
    put_number(file, 3)
    assert count(file) == 3


def open_and_close(path: str, pipe: Pipe) -> None:
    """A short command, which tidies up if it takes itself for the last."""
    file = sqlite.file_at(path)
    with file.connection() as db:
        found = db.execute("SELECT x FROM t ORDER BY x").fetchall()
    file.close()
    pipe.send(found)


def test_a_reader_that_stays_lets_the_log_grow_only_until_it_leaves(file: sqlite.File) -> None:
    body = "x" * 4000
    reader = sqlite_opening.connect(file.path)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM t").fetchall() == [(0,)]

    def write(number: int) -> None:
        for _ in range(number):
            with file.transaction() as db:
                db.execute("INSERT INTO t VALUES (hex(randomblob(16)) || ?)", (body,))

    write(6000)
    held = Path(f"{file.path}-wal").stat().st_size
    assert held > sqlite_opening.WAL_LIMIT
    reader.execute("COMMIT")
    reader.close()
    write(2)
    assert Path(f"{file.path}-wal").stat().st_size <= sqlite_opening.WAL_LIMIT
    write(6000)
    assert Path(f"{file.path}-wal").stat().st_size <= 2 * sqlite_opening.WAL_LIMIT
    assert count(file) == 12_002


def statements_of(opening: Callable[[], object]) -> list[str]:
    """The SQL that is run, by whatever connection it opens."""
    said: list[str] = []

    def listen(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: said.append(event["sql"]))

    apsw.connection_hooks.append(listen)
    try:
        opening()
    finally:
        apsw.connection_hooks.remove(listen)
    return said


def test_opening_a_known_file_is_a_handful_of_statements_and_no_write(tmp_path: Path) -> None:
    path = str(tmp_path / "some.db")
    new = statements_of(lambda: sqlite_opening.connect(path).close())
    again = statements_of(lambda: sqlite_opening.connect(path).close())
    assert len(new) <= 7  # SQLite's own statement about the pragma's table among them
    assert len(again) <= 6
    assert not [sql for sql in again if not sql.startswith(("PRAGMA", "SELECT"))]
