"""Starting, watching and stopping the processes under test."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from . import marks

ROOT = Path(__file__).resolve().parent.parent
#: Seconds without a task run after which a worker is taken to be stuck.
PATIENCE = 60.0


class CannotRunError(Exception):
    """A system could not be measured."""


@contextlib.contextmanager
def started(
    command: Sequence[str], *, log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for the length of a ``with`` block, then end it and all its children."""
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise CannotRunError(f"{command[0]} is not installed") from error
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment(extra: dict[str, str]) -> dict[str, str]:
    """The environment of a process under test: none of the user's own settings for Celery."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CELERY", "CELERIAC", "FLASK", "BENCH"))
    }
    return {**kept, "C_FORCE_ROOT": "1", **extra}


def client(action: str, app: str, count: int, extra: dict[str, str]) -> dict[str, Any]:
    """Run one of the actions of :mod:`bench.client` in a process of its own."""
    command = [sys.executable, "-m", "bench.client", action, app, str(count)]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment(extra),
            check=False,
            capture_output=True,
            text=True,
            timeout=900,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotRunError(f"the client ({action}) did not come to an end") from error
    if done.returncode:
        raise CannotRunError(f"the client ({action}) failed:\n{done.stderr.strip()[-2000:]}")
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome


class Worker:
    """A running worker: its main process and its children."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, marks_in: Path) -> None:
        self._process = process
        self._log = log
        self._marks = marks_in

    def pids(self) -> list[int]:
        """Its processes, the main one first."""
        try:
            main = psutil.Process(self._process.pid)
            return [main.pid, *(child.pid for child in main.children(recursive=True))]
        except psutil.NoSuchProcess as error:
            raise self._trouble("it ended by itself") from error

    def cpu(self) -> float:
        """CPU seconds used so far, user and system, by all its processes."""
        return sum(_cpu_of(pid) for pid in self.pids())

    def wait_until_ready(self) -> None:
        """Wait for Celery's signal ``worker_ready``."""
        end = time.monotonic() + PATIENCE
        while not marks.is_ready(self._marks):
            if time.monotonic() > end:
                raise self._trouble("it was not ready in time")
            self.pids()
            time.sleep(0.02)

    def ticks(self) -> marks.Ticks:
        """What it has run so far."""
        return marks.read(self._marks)

    def wait_for(self, count: int) -> marks.Ticks:
        """Wait until it has run that many tasks."""
        seen, since = -1, time.monotonic()
        while True:
            ticks = self.ticks()
            if ticks.count >= count:
                return ticks
            if ticks.count != seen:
                seen, since = ticks.count, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                raise self._trouble(f"it ran {seen} of {count} tasks")
            self.pids()
            time.sleep(0.05)

    def _trouble(self, what: str) -> CannotRunError:
        tail = self._log.read_text(errors="replace").strip()[-2000:]
        return CannotRunError(f"the worker: {what}; its log ends with\n{tail}")


@contextlib.contextmanager
def worker(command: Sequence[str], home: Path, extra: dict[str, str]) -> Iterator[Worker]:
    """Run a worker for the length of a ``with`` block.

    :param command: a module to run and its arguments
    """
    log, marks_in = home / "worker.log", Path(extra["BENCH_MARKS"])
    with started(
        [sys.executable, "-m", *command], log=log, environment=environment(extra)
    ) as process:
        yield Worker(process, log, marks_in)


def _cpu_of(pid: int) -> float:
    """CPU seconds of a process: to the nanosecond on Linux, to the clock tick elsewhere."""
    if platform.system() == "Linux":
        # What clock_getcpuclockid(3) computes, which Python offers for threads only.
        return time.clock_gettime((~pid << 3) | 2)
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
