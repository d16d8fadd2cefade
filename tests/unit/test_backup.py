"""A copy of the file while others use it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import apsw
import pytest

from flask_celeriac import sqlite
from flask_celeriac.backup import back_up
from flask_celeriac.errors import StorageError
from tests.system.other import Other


@pytest.fixture
def file(tmp_path: Path) -> Iterator[sqlite.File]:
    file = sqlite.file_at(str(tmp_path / "live.db"))
    with file.transaction() as db:
        db.execute("CREATE TABLE pair (x INTEGER PRIMARY KEY, y INTEGER)")
    yield file
    file.close()


def rows(path: Path | str) -> list[tuple[int, int]]:
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        assert db.pragma("integrity_check") == "ok"
        return db.execute("SELECT x, y FROM pair ORDER BY x").fetchall()  # type: ignore[return-value]
    finally:
        db.close()


def write_pairs(path: str, pipe: Pipe) -> None:
    """Commit rows in pairs as fast as possible, until told to stop."""
    file = sqlite.file_at(path)
    number = 0
    while not pipe.poll():
        number += 1
        with file.transaction() as db:
            db.execute("INSERT INTO pair (y) VALUES (?), (?)", (number, -number))
        if number == 1:
            pipe.send("writing")
    file.close()
    pipe.send(number)


def test_a_backup_is_one_state_of_a_file_that_others_write(
    file: sqlite.File, tmp_path: Path
) -> None:
    with file.transaction() as db:  # long enough to be written to while it is copied
        db.executemany("INSERT INTO pair (y) VALUES (?)", ((0,) for _ in range(200_000)))
    with Other(write_pairs, file.path) as other:
        assert other.receive(90) == "writing"
        counts = []
        for number in range(5):
            back_up(file, str(tmp_path / f"{number}.db"))
            found = rows(tmp_path / f"{number}.db")
            assert sum(y for _, y in found) == 0
            counts.append(len(found))
        other.send("stop")
        written = other.receive(90)
    assert counts == sorted(counts)
    assert len(rows(file.path)) == 200_000 + 2 * written


def test_a_backup_is_one_private_file_and_nothing_beside_it(
    file: sqlite.File, tmp_path: Path
) -> None:
    folder = tmp_path / "back ups #1"
    folder.mkdir()
    before = os.umask(0)
    try:
        size = back_up(file, str(folder / "celeriac.db"))
    finally:
        os.umask(before)
    (copy,) = folder.iterdir()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert copy.stat().st_size == size
    assert copy.read_bytes()[18:20] == b"\x01\x01"  # no write-ahead log is expected beside it


def test_a_backup_can_be_opened_in_the_files_place(file: sqlite.File, tmp_path: Path) -> None:
    with file.transaction() as db:
        db.execute("INSERT INTO pair VALUES (1, 2)")
    back_up(file, str(tmp_path / "restored.db"))
    restored = sqlite.file_at(str(tmp_path / "restored.db"))
    with restored.transaction() as db:
        db.execute("INSERT INTO pair VALUES (2, 3)")
    restored.close()
    assert rows(restored.path) == [(1, 2), (2, 3)]


def test_what_is_there_is_overwritten_only_when_asked(file: sqlite.File, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    target.write_text("precious")
    with pytest.raises(StorageError, match="--force"):
        back_up(file, str(target))
    assert target.read_text() == "precious"
    back_up(file, str(target), overwrite=True)
    assert rows(target) == []


@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
def test_the_live_file_is_never_overwritten(file: sqlite.File, end: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for target in (file.path + end, str(tmp_path / "link" / ("live.db" + end))):
        with pytest.raises(StorageError, match="in use"):
            back_up(file, target, overwrite=True)
    assert rows(file.path) == []


def test_a_place_that_cannot_be_written_is_named(file: sqlite.File, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"missing.*No such file or directory"):
        back_up(file, str(tmp_path / "missing" / "backup.db"))
    with pytest.raises(StorageError, match="is a directory"):
        back_up(file, str(tmp_path))


def test_a_damaged_file_is_not_backed_up_over_a_good_backup(
    file: sqlite.File, tmp_path: Path
) -> None:
    target = tmp_path / "backup.db"
    back_up(file, str(target))
    with file.transaction() as db:
        db.executemany("INSERT INTO pair (y) VALUES (?)", ((0,) for _ in range(20_000)))
    file.close()
    with Path(file.path).open("r+b") as damaged:
        damaged.seek(4096 * 10)
        damaged.write(b"\xff" * 4096 * 3)
    with pytest.raises(StorageError, match=r"damaged.*salvage"):
        back_up(file, str(target), overwrite=True)
    assert rows(target) == []
