"""The broker's file: where it may be, who may read it, how large it grows, what breaks it."""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection, Message
from kombu.exceptions import OperationalError

from flask_celeriac import sqlite
from flask_celeriac.backup import back_up
from flask_celeriac.errors import StorageError
from tests.broker import processes
from tests.broker.conftest import Connect
from tests.broker.disk import fill_up
from tests.broker.messages import Receiver, put, size
from tests.system.other import Other


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_only_the_owner_may_read_anything(tmp_path: Path) -> None:
    path = tmp_path / "instance" / "celeriac" / "celeriac.db"
    with Connection(sqlite.url_of(str(path))) as connection:
        put(connection, 1)
        Receiver(connection, "jobs").drain(1)
        modes = {
            str(found.relative_to(path.parent.parent)): stat.S_IMODE(found.stat().st_mode)
            for found in [path.parent, *path.parent.rglob("*")]
        }
    sqlite.file_at(str(path)).close()
    assert {f"celeriac/celeriac.db{end}" for end in ("", "-wal", "-shm", ".run")} <= modes.keys()
    readable = {name: oct(mode) for name, mode in modes.items() if mode & 0o077}
    assert readable == {}


@pytest.mark.parametrize(
    "name",
    [
        "with space.db",
        "50% off.db",
        "a+b,c;d.db",
        "wie geht's ünïcode \U0001f600.db",
        "question?mark#hash.db",
        f"{'deep' * 20}/{'deeper' * 20}/celeriac.db",
    ],
    ids=["space", "percent", "separators", "unicode", "url", "long"],
)
def test_any_path_works(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    url = sqlite.url_of(str(path))
    assert sqlite.path_of(url) == str(path)
    with Connection(url) as connection, Connection(url) as another:
        receiver = Receiver(connection, "jobs")
        put(another, "here")
        assert receiver.drain(1).bodies == ["here"]
        assert receiver.connection.transport._bell is not None
    assert path.exists()
    sqlite.file_at(str(path)).close()


def test_a_relative_url_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sqlite.path_of("celeriac:///some.db") == str(tmp_path / "some.db")


@pytest.mark.parametrize("url", ["celeriac://", "celeriac:///"])
def test_a_url_without_a_file_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(StorageError, match="celeriac:////absolute/path"):
        sqlite.path_of(url)


def test_processes_may_open_a_new_file_at_the_same_moment(tmp_path: Path) -> None:
    for attempt in range(3):
        path = str(tmp_path / f"{attempt}" / "new.db")
        others = [Other(processes.open_at_once, sqlite.url_of(path)) for _ in range(4)]
        for other in others:
            assert other.receive() == "here"
        for other in others:
            other.send("go")
        said = []
        for other in others:
            with other:
                said.append(other.receive())
        assert said == ["ok"] * 4
        with Connection(sqlite.url_of(path)) as connection:
            assert size(connection) == 4
        sqlite.file_at(path).close()


def test_a_file_of_a_newer_version_is_refused_in_words(connect: Connect, path: str) -> None:
    put(connect(), 1)
    with sqlite.file_at(path).transaction() as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises((StorageError, OperationalError), match=r"newer.*upgrade flask-celeriac"):
        connect().connect()


def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("just text, and enough of it to be no database header\n" * 100)
    with (
        pytest.raises((StorageError, OperationalError), match="not a database"),
        Connection(sqlite.url_of(str(path))) as connection,
    ):
        put(connection, 1)
    assert path.read_text().startswith("just text")


def test_a_directory_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    url = sqlite.url_of(str(tmp_path / "file" / "below" / "celeriac.db"))
    with (
        pytest.raises((StorageError, OperationalError), match="below"),
        Connection(url) as connection,
    ):
        put(connection, 1)


def test_the_fallback_look_finds_what_no_bell_told(connect: Connect, path: str) -> None:
    receiver = Receiver(connect(), "jobs")
    assert receiver.quiet(0.1)
    bells = Path(path + ".run") / "bells"
    for bell in bells.iterdir():
        bell.unlink()
    put(connect(), "unannounced")
    assert receiver.drain(1, 5.0).bodies == ["unannounced"]


def test_bells_of_dead_processes_are_removed(connect: Connect, path: str) -> None:
    bells = Path(path + ".run") / "bells"
    bells.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(str(bells / "1-0"))
    put(connect(), 1)
    assert list(bells.iterdir()) == []


def test_closing_leaves_nothing_beside_the_file(connect: Connect, path: str) -> None:
    connection = connect()
    Receiver(connection, "jobs")
    connection.close()
    left = [str(found) for found in Path(path + ".run").rglob("*") if not found.is_dir()]
    assert left == []


def test_a_rung_receiver_wakes_long_before_the_fallback(connect: Connect) -> None:
    receiver = Receiver(connect(), "jobs")
    producer = connect()
    put(producer, "warm up")
    receiver.drain(1)
    delays = []
    for number in range(20):
        began = time.monotonic()
        put(producer, number)
        receiver.drain(number + 2)
        delays.append(time.monotonic() - began)
    assert sorted(delays)[10] < 0.5


def test_the_write_ahead_log_stays_bounded(connect: Connect, path: str) -> None:
    receiver = Receiver(connect(), "jobs", handle=lambda message: message.ack())
    producer = connect()
    body = "x" * 10_000
    largest = 0
    for batch in range(40):
        put(producer, *[body] * 50)
        receiver.drain((batch + 1) * 50)
        largest = max(largest, os.path.getsize(path + "-wal"))
    assert largest < 32 * 1024 * 1024
    assert os.path.getsize(path) < 16 * 1024 * 1024


def fill(connection: Connection, body: str = "x" * 10_000) -> int:
    """Put until the disk is full; how many were acknowledged."""
    count = 0
    with pytest.raises((StorageError, OperationalError), match="disk is full"):
        while True:
            put(connection, body)
            count += 1
    return count


@pytest.mark.parametrize("small_disk", [80], indirect=True)
def test_a_full_disk_is_a_clear_error_and_acks_still_work(small_disk: Path) -> None:
    url = sqlite.url_of(str(small_disk / "celeriac.db"))
    with Connection(url) as producer, Connection(url) as consumer:
        put(producer, "first")
        receiver = Receiver(consumer, "jobs", prefetch=1).drain(1)
        count = fill(producer, "x" * 200_000) + 1
        assert count > 10
        receiver.messages[0].ack()
        assert size(producer) == count - 1
        for number in range(2, count + 1):
            receiver.drain(number)
            receiver.messages[-1].ack()
        assert size(producer) == 0
        put(producer, "room again")
        assert receiver.drain(count + 1).bodies[-1] == "room again"


@pytest.mark.parametrize(
    ("small_disk", "body"), [(40, 10_000), (56, 100_000)], indirect=["small_disk"]
)
def test_what_was_acknowledged_is_what_is_there_after_a_full_disk(
    small_disk: Path, body: int
) -> None:
    """Also where it was emptying the write-ahead log that found no room, after the commit."""
    url = sqlite.url_of(str(small_disk / "celeriac.db"))
    with Connection(url) as producer:
        count = fill(producer, "x" * body)
    sqlite.file_at(str(small_disk / "celeriac.db")).close()
    with Connection(url) as connection:
        assert size(connection) == count


@pytest.mark.parametrize("small_disk", [40], indirect=True)
def test_acks_are_kept_while_others_fill_the_disk(small_disk: Path) -> None:
    """They are written as soon as there is room: nothing runs again."""
    url = sqlite.url_of(str(small_disk / "celeriac.db"))
    with Connection(url) as producer, Connection(url) as consumer:
        put(producer, *range(200))
        receiver = Receiver(consumer, "jobs").drain(200)
        filler = fill_up(small_disk)
        refusals = []
        for message in receiver.messages[:-1]:
            try:
                message.ack()
            except StorageError as error:
                refusals.append(str(error))
        assert all("disk is full" in refusal for refusal in refusals)
        filler.unlink()
        receiver.messages[-1].ack()
        receiver.close()
        assert Receiver(producer, "jobs").quiet(), f"{len(refusals)} acks were refused"


@pytest.mark.parametrize("small_disk", [40], indirect=True)
def test_what_a_callback_did_not_see_comes_back_once_there_is_room(small_disk: Path) -> None:
    url = sqlite.url_of(str(small_disk / "celeriac.db"))
    filler: list[Path] = []

    def fail(message: Message) -> None:
        if not filler:
            put(producer, *range(100), queue="others")  # the log has no pages to spare
            filler.append(fill_up(small_disk))
            raise ValueError(message.payload)

    with Connection(url) as producer, Connection(url) as consumer:
        put(producer, *range(4))
        receiver = Receiver(consumer, "jobs", handle=fail)
        with pytest.raises((ValueError, StorageError)):
            receiver.drain(2)
        filler[0].unlink()
        assert receiver.drain(4, 5.0).bodies == [0, 1, 2, 3]


@pytest.mark.parametrize("small_disk", [1], indirect=True)
def test_a_backup_that_does_not_fit_leaves_the_old_one(
    connect: Connect, path: str, small_disk: Path
) -> None:
    target = small_disk / "backup.db"
    put(connect(), "first")
    back_up(sqlite.file_at(path), str(target))
    old = target.read_bytes()
    put(connect(), *["x" * 100_000] * 20)
    with pytest.raises(StorageError, match="disk is full"):
        back_up(sqlite.file_at(path), str(target), overwrite=True)
    assert target.read_bytes() == old
    assert list(small_disk.iterdir()) == [target]


def test_the_next_of_several_urls(tmp_path: Path) -> None:
    first, second = (str(tmp_path / name / "celeriac.db") for name in "ab")
    with Connection(f"{sqlite.url_of(first)};{sqlite.url_of(second)}") as connection:
        put(connection, "one")
        connection.switch(sqlite.url_of(second))
        put(connection, "two")
        for path, body in ((first, "one"), (second, "two")):
            with Connection(sqlite.url_of(path)) as look:
                assert Receiver(look, "jobs").drain(1).bodies == [body]
    for path in (first, second):
        sqlite.file_at(path).close()
