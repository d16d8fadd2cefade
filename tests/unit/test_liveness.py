"""Who is alive: a lock that the kernel frees."""

from __future__ import annotations

import errno
import os
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import pytest

from flask_celeriac import liveness
from tests.system.other import Other
from tests.system.workers import wait_for


def hold(directory: str, pipe: Pipe) -> None:
    lock = liveness.LifeLock(directory)
    pipe.send(lock.name)
    if pipe.recv() == "close":
        lock.close()
    pipe.send("done")
    pipe.recv()


def look(directory: str, pipe: Pipe, name: str) -> None:
    pipe.send(liveness.is_alive(directory, name))


def test_a_process_is_alive_until_it_is_killed(tmp_path: Path) -> None:
    with Other(hold, str(tmp_path)) as other:
        name = other.receive()
        assert liveness.is_alive(str(tmp_path), name)
        assert liveness.is_alive(str(tmp_path), name)
        other.kill()
        wait_for(lambda: not liveness.is_alive(str(tmp_path), name), "dead")


def test_who_cannot_be_looked_at_may_be_alive(tmp_path: Path) -> None:
    """As where the file is another user's: the lease tells."""
    name = f"{liveness.boot_id()}-unreadable"
    (tmp_path / name).mkdir()
    assert liveness.is_alive(str(tmp_path), name)


def test_a_lock_that_cannot_be_had_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(liveness, "_lock", refuse)
    with pytest.raises(OSError, match="No locks"):
        liveness.LifeLock(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_leaves_takes_its_lock_along(tmp_path: Path) -> None:
    with Other(hold, str(tmp_path)) as other:
        name = other.receive()
        other.send("close")
        assert other.receive() == "done"
        assert not liveness.is_alive(str(tmp_path), name)
        assert list(tmp_path.iterdir()) == []


def test_looking_at_ones_own_lock_does_not_lose_it(tmp_path: Path) -> None:
    lock = liveness.LifeLock(str(tmp_path))
    try:
        assert liveness.is_alive(str(tmp_path), lock.name)
        assert seen_by_another(tmp_path, lock.name)
    finally:
        lock.close()
    assert not seen_by_another(tmp_path, lock.name)


def test_looking_through_another_path_does_not_lose_it(tmp_path: Path) -> None:
    """A symbolic link to the directory, as `current` in a deployment."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    lock = liveness.LifeLock(str(tmp_path / "real"))
    try:
        assert liveness.is_alive(str(tmp_path / "link"), lock.name)
        assert seen_by_another(tmp_path / "real", lock.name)
    finally:
        lock.close()


def seen_by_another(directory: Path, name: str) -> bool:
    with Other(look, str(directory), name) as other:
        return bool(other.receive())


def test_two_locks_of_one_process(tmp_path: Path) -> None:
    first, second = (liveness.LifeLock(str(tmp_path)) for _ in range(2))
    first.close()
    assert seen_by_another(tmp_path, second.name)
    second.close()


def test_a_forked_child_does_not_hold_its_parents_lock(tmp_path: Path) -> None:
    lock = liveness.LifeLock(str(tmp_path))
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            lock.close()  # does nothing here
            os.write(write, b"closed")
            os.read(0, 0)
        finally:
            os._exit(0)
    assert os.read(read, 6) == b"closed"
    os.waitpid(pid, 0)
    os.close(read)
    os.close(write)
    assert seen_by_another(tmp_path, lock.name)
    lock.close()


def test_a_lock_of_another_boot_is_dead(tmp_path: Path) -> None:
    (tmp_path / "00000000-abc").write_text("")
    assert not liveness.is_alive(str(tmp_path), "00000000-abc")


def test_burying_the_missing_is_no_error(tmp_path: Path) -> None:
    liveness.bury(str(tmp_path), "nobody")
    assert not liveness.is_alive(str(tmp_path), f"{liveness.boot_id()}-nobody")
