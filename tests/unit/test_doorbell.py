"""Bells that wake another process."""

from __future__ import annotations

import os
import re
import resource
import select
import stat
import threading
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import pytest

from flask_celeriac.doorbell import Bell, Ringer, bell_name
from tests.system.other import Other


def ring(directory: str, pipe: Pipe) -> None:
    Ringer(directory).ring_all()
    pipe.send("rung")


def listen(directory: str, pipe: Pipe) -> None:
    bell = Bell(directory, "theirs")
    pipe.send("listening")
    pipe.recv()
    bell.close()


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "bells")


def test_a_bell_is_rung_from_another_process(directory: str) -> None:
    bell = Bell(directory, "mine")
    assert not bell.wait(0)
    with Other(ring, directory) as other:
        assert bell.wait(20)
        assert other.receive() == "rung"
    assert not bell.wait(0)
    bell.close()


def test_a_bell_is_heard_where_eventlet_has_taken_poll_away(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(select, "poll")
    bell = Bell(directory, "mine")
    assert not bell.wait(0)
    Ringer(directory).ring_all()
    assert bell.wait(5)
    assert not bell.wait(0)
    bell.close()


def test_every_bell_is_rung(directory: str) -> None:
    bells = [Bell(directory, str(number)) for number in range(5)]
    Ringer(directory).ring_all()
    assert [bell.wait(5) for bell in bells] == [True] * 5
    for bell in bells:
        bell.close()


def test_one_bell_is_rung_by_its_name(directory: str) -> None:
    one, other = Bell(directory, "one"), Bell(directory, "other")
    Ringer(directory).ring("one")
    assert one.wait(5)
    assert not other.wait(0)
    one.close()
    other.close()


def test_a_nudge_wakes_and_is_no_ring(directory: str) -> None:
    bell = Bell(directory, "mine")
    bell.nudge()
    assert select.select([bell], [], [], 5)[0] == [bell]
    assert not bell.clear()
    assert not bell.wait(0)
    bell.nudge()
    Ringer(directory).ring("mine")
    bell.nudge()
    assert bell.clear()
    bell.close()
    bell.nudge()  # which is no error


def test_a_thousand_rings_block_nobody_and_are_cleared_at_once(directory: str) -> None:
    bell = Bell(directory, "mine")
    ringer = Ringer(directory)
    for _ in range(1000):
        ringer.ring_all()
    assert bell.wait(5)
    assert not bell.wait(0)
    bell.close()


def test_a_ringer_hears_of_new_bells(directory: str) -> None:
    ringer = Ringer(directory)
    ringer.ring_all()
    for number in range(20):
        bell = Bell(directory, str(number))
        ringer.ring_all()
        assert bell.wait(5), f"bell {number} was not found"
        bell.close()
        ringer.ring_all()


def test_a_dead_processs_bell_is_removed(directory: str) -> None:
    with Other(listen, directory) as other:
        assert other.receive() == "listening"
        other.kill()
        Ringer(directory).ring_all()
    assert os.listdir(directory) == []


def test_sweeping_takes_dead_bells_away_and_wakes_nobody(directory: str) -> None:
    bell = Bell(directory, "mine")
    with Other(listen, directory) as other:
        assert other.receive() == "listening"
        other.kill()
        assert sorted(os.listdir(directory)) == ["mine", "theirs"]
        Ringer(directory).sweep()
    assert os.listdir(directory) == ["mine"]
    assert not bell.wait(0)
    bell.close()
    Ringer(directory + "/nowhere").sweep()  # which is no error


def test_a_bell_that_nobody_has_any_more_is_gone(directory: str) -> None:
    bell = Bell(directory, "mine")
    del bell
    assert os.listdir(directory) == []


def test_closing_twice_leaves_the_next_of_that_name_alone(directory: str) -> None:
    bell = Bell(directory, "mine")
    bell.close()
    other = Bell(directory, "mine")
    bell.close()
    assert os.listdir(directory) == ["mine"]
    other.close()


def test_nobody_to_ring_is_no_error(directory: str) -> None:
    Ringer(directory).ring_all()
    Ringer(directory).ring("nobody")


def test_too_many_open_files_are_no_error(directory: str) -> None:
    """What is put is in the file by then; a worker finds it when it looks the next time."""
    bell = Bell(directory, "bell")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        Ringer(directory).ring_all()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    bell.close()


def test_a_name_that_is_taken_is_an_error(directory: str) -> None:
    bell = Bell(directory, "mine")
    with pytest.raises(OSError, match="in use"):
        Bell(directory, "mine")
    bell.close()
    Bell(directory, "mine").close()


def test_a_path_longer_than_a_socket_may_have(tmp_path: Path) -> None:
    directory = str(tmp_path / ("deep" * 30) / "bells")
    bell = Bell(directory, "mine")
    Ringer(directory).ring_all()
    assert bell.wait(5)
    bell.close()
    assert os.listdir(directory) == []


def test_a_path_with_more_bytes_than_characters(tmp_path: Path) -> None:
    directory = str(tmp_path / ("ö" * (90 - len(str(tmp_path)))))
    assert len(directory) < 100 < len(os.fsencode(directory))
    bell = Bell(directory, "mine")
    Ringer(directory).ring("mine")
    assert bell.wait(5)
    bell.close()


@pytest.mark.parametrize("text", ["", "..", "a/b", "\0", "x" * 65, "\ud800", "ü b"])
def test_any_text_has_a_name_that_a_file_may_have(text: str) -> None:
    name = bell_name(text)
    assert re.fullmatch(r"[\w-]{1,64}", name)
    assert name == bell_name(text)


def test_only_the_owner_may_ring(directory: str) -> None:
    bell = Bell(directory, "mine")
    assert stat.S_IMODE(os.stat(bell.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    bell.close()


def test_a_wait_ends_when_it_rings(directory: str) -> None:
    bell = Bell(directory, "mine")
    threading.Timer(0.1, Ringer(directory).ring_all).start()
    began = time.monotonic()
    assert bell.wait(30)
    assert time.monotonic() - began < 20
    bell.close()


def test_a_short_wait_is_not_a_busy_one(directory: str) -> None:
    bell = Bell(directory, "mine")
    began = time.monotonic()
    assert not bell.wait(0.0005)
    assert time.monotonic() - began >= 0.0005
    bell.close()


def test_a_forked_child_leaves_the_name_alone(directory: str) -> None:
    bell = Bell(directory, "mine")
    pid = os.fork()
    if pid == 0:
        bell.close()
        os._exit(0)
    os.waitpid(pid, 0)
    Ringer(directory).ring_all()
    assert bell.wait(5)
    bell.close()


def test_a_ringer_works_on_in_a_forked_child(directory: str) -> None:
    bell = Bell(directory, "mine")
    ringer = Ringer(directory)
    ringer.ring_all()
    assert bell.wait(5)
    pid = os.fork()
    if pid == 0:
        ringer.ring_all()
        os._exit(0)
    assert bell.wait(20)
    os.waitpid(pid, 0)
    bell.close()
