"""Run a command as a terminal does: in a process group of its own, its output read as it comes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from typing_extensions import Self

PATIENCE = 40.0
"""Seconds until a test gives up; it never waits longer than it has to."""

FLASK = (sys.executable, "-m", "flask")
CELERY = (sys.executable, "-m", "celery")


def until(condition: Callable[[], object], what: object) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


class Terminal:
    """A command that runs.

    :param command: what to run.
    :param cwd: where.
    :param env: added to this process's environment.
    """

    def __init__(self, *command: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self._mark = uuid.uuid4().hex
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {}), "CLI_TEST": self._mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self.alive():
            process.kill()
        self.process.wait()
        self._reader.join()
        if error is not None:
            print(self.text)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            for line in pipe:
                self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        """Everything it wrote until now."""
        return "\n".join(self.lines)

    def sees(self, pattern: str, *, times: int = 1) -> None:
        """Wait until a pattern was written that many times."""
        until(lambda: self.count(pattern) >= times, f"{pattern!r} x {times} in:\n{self.text}")

    def count(self, pattern: str) -> int:
        """How many lines match a pattern."""
        return sum(bool(re.search(pattern, line)) for line in list(self.lines))

    def alive(self) -> list[psutil.Process]:
        """It and every process that came from it, also if the parent has died."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("CLI_TEST") == self._mark
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def find(self, *words: str) -> psutil.Process:
        """The oldest process whose command line has these words, once it is there."""
        found: list[psutil.Process] = []

        def look() -> bool:
            found[:] = sorted(
                (p for p in self.alive() if _has(p, words)), key=psutil.Process.create_time
            )
            return bool(found)

        until(look, words)
        return found[0]

    def press(self, number: signal.Signals) -> None:
        """Send a signal to the foreground process group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def ends(self) -> int:
        """Wait for the end and for the end of everything it started; the exit code."""
        code = self.process.wait(timeout=PATIENCE)
        until(lambda: not self.alive(), f"the end of {self.alive()} in:\n{self.text}")
        self._reader.join()
        return code


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
