"""A command as a terminal runs it: lines as they come, and keys that reach the whole group."""

from __future__ import annotations

import os
import re
import signal
import sys
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import psutil

from tests.support.processes import Running, wait_for

if TYPE_CHECKING:
    from typing_extensions import Self

PATIENCE = 40.0
"""Seconds until a test gives up; it never waits longer than it has to."""

FLASK = (sys.executable, "-m", "flask")
CELERY = (sys.executable, "-m", "celery")


def until(condition: Callable[[], object], what: object) -> None:
    """Wait until a condition holds."""
    wait_for(condition, str(what), PATIENCE)


class Terminal(Running):
    """A command that runs; nothing of it is left after the ``with`` block.

    :param command: what to run.
    :param cwd: where.
    :param env: added to this process's environment.
    """

    def __init__(self, *command: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        super().__init__(*command, cwd=cwd, env={**os.environ, **(env or {})})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        if error is not None:
            print(self.output)
        self.close()

    @property
    def lines(self) -> list[str]:
        """The lines it wrote until now."""
        return self.output.splitlines()

    def shows(self, pattern: str, *, times: int = 1) -> None:
        """Wait until so many lines match a pattern."""
        until(lambda: self.count(pattern) >= times, f"{pattern!r} x {times} in {self}")

    def count(self, pattern: str) -> int:
        """How many lines match a pattern."""
        return sum(bool(re.search(pattern, line)) for line in self.lines)

    def find(self, *words: str) -> psutil.Process:
        """The oldest process whose command line has these words, once it is there."""

        def look() -> list[psutil.Process]:
            found = (process for process in self.alive() if _has(process, words))
            return sorted(found, key=psutil.Process.create_time)

        return wait_for(look, f"{words} of {self}", PATIENCE)[0]

    def press(self, number: signal.Signals) -> None:
        """Send a signal to the foreground process group, as a terminal does."""
        os.killpg(self.process.pid, number)


def _has(process: psutil.Process, words: tuple[str, ...]) -> bool:
    try:
        return set(words) <= set(process.cmdline())
    except psutil.Error:
        return False


def fetch(url: str) -> str:
    """The body of a page."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        body: bytes = response.read()
    return body.decode()
