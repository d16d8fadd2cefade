from __future__ import annotations

import io
import os
import pty
from collections.abc import Iterator

import pytest

from flask_celeriac.cli.output import Output, wants_color


def test_bars_are_aligned_and_lines_are_passed_on_as_they_are() -> None:
    stream = io.BytesIO()
    output = Output(["web", "worker", "beat"], stream, color=False)
    output.pump("web", io.BytesIO(b"GET /\r\n\xff not utf-8\nunfinished"))
    output.line("worker", b"ready")
    output.say("one\ntwo")
    assert stream.getvalue().splitlines() == [
        b"web    | GET /",
        b"web    | \xff not utf-8",
        b"web    | unfinished",
        b"worker | ready",
        b"dev    | one",
        b"dev    | two",
    ]


def test_only_the_prefix_of_a_process_is_coloured() -> None:
    stream = io.BytesIO()
    output = Output(["web", "worker"], stream, color=True)
    output.line("web", b"text")
    output.line("worker", b"text")
    web, worker = stream.getvalue().splitlines()
    assert web.startswith(b"\x1b[36m")
    assert web.endswith(b"\x1b[0mtext")
    assert worker.startswith(b"\x1b[32m")


def test_a_terminal_that_is_gone_is_no_error() -> None:
    stream = io.BytesIO()
    output = Output(["web"], stream, color=False)
    stream.close()
    output.line("web", b"text")


@pytest.fixture
def tty() -> Iterator[io.TextIOWrapper]:
    ours, theirs = pty.openpty()
    with open(theirs, "w") as stream:
        yield stream
    os.close(ours)


def test_colour_is_for_terminals_without_no_color(
    tty: io.TextIOWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert not wants_color(io.StringIO())
    assert wants_color(tty)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_color(tty)


def test_where_there_is_no_colour_nobody_brings_any() -> None:
    for color in (True, False):
        stream = io.BytesIO()
        Output(["web"], stream, color=color).line("web", b"\x1b[35m\x1b[1mPOST / 202\x1b[0m \xff")
        assert (b"\x1b" in stream.getvalue()) is color
    assert stream.getvalue() == b"web | POST / 202 \xff\n"
