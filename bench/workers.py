"""The running workers of a system."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from . import marks, processes
from .processes import CannotRunError
from .progress import Point, Progress

#: Seconds without a task run after which workers are taken to be stuck.
PATIENCE = 60.0
#: Seconds between two looks at a drain.
PAUSE = 0.02


class Workers:
    """Running workers: their main processes and their children."""

    def __init__(self, mains: Sequence[subprocess.Popen[bytes]], log: Path, marks_in: Path) -> None:
        self._mains = mains
        self._log = log
        self._marks = marks_in
        self.progress = Progress()

    def processes(self) -> list[psutil.Process]:
        """All processes, each main one before its children."""
        self._check()
        found = [psutil.Process(main.pid) for main in self._mains]
        return [one for main in found for one in (main, *main.children(recursive=True))]

    def cpu(self) -> float:
        """CPU seconds used so far, user and system, by all processes."""
        return sum(_cpu_of(process) for process in self.processes())

    def wait_until_ready(self) -> None:
        """Wait until each could begin."""
        end = time.monotonic() + PATIENCE
        while marks.ready(self._marks) < len(self._mains):
            if time.monotonic() > end:
                raise self._trouble("they were not ready in time")
            self._check()
            time.sleep(PAUSE)

    def drain(self, count: int) -> marks.Ticks:
        """Let them begin, and watch until they have run that many tasks."""
        watched = self.processes()
        marks.go(self._marks)
        seen, since = -1, time.monotonic()
        while seen < count:
            time.sleep(PAUSE)
            ticks, now = marks.read(self._marks), time.monotonic()
            self.progress.points.append(Point(now, ticks.count, self._memory(watched)))
            if ticks.count != seen:
                seen, since = ticks.count, now
            elif now - since > PATIENCE:
                raise self._trouble(f"they ran {seen} of {count} tasks")
            self._check()
        return ticks

    def ticks(self) -> marks.Ticks:
        """What they have run so far."""
        return marks.read(self._marks)

    def _memory(self, watched: list[psutil.Process]) -> int:
        try:
            return sum(process.memory_info().rss for process in watched)
        except psutil.NoSuchProcess as error:
            raise self._trouble("one ended by itself") from error

    def _check(self) -> None:
        if any(main.poll() is not None for main in self._mains):
            raise self._trouble("one ended by itself")

    def _trouble(self, what: str) -> CannotRunError:
        tail = self._log.read_text(errors="replace").strip()[-2000:]
        return CannotRunError(f"the workers: {what}; their log ends with\n{tail}")


@contextlib.contextmanager
def running(
    commands: Sequence[Sequence[str]], home: Path, extra: dict[str, str]
) -> Iterator[Workers]:
    """Run workers for the length of a ``with`` block.

    :param commands: for each, a module to run and its arguments
    """
    log, environment = home / "workers.log", processes.environment(extra)
    with contextlib.ExitStack() as stack:
        mains = [
            stack.enter_context(
                processes.started(
                    [sys.executable, "-m", *command], log=log, environment=environment
                )
            )
            for command in commands
        ]
        yield Workers(mains, log, Path(extra["BENCH_MARKS"]))


def _cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process: to the nanosecond on Linux, to the clock tick elsewhere."""
    if platform.system() == "Linux":
        # What clock_getcpuclockid(3) computes, which Python offers for threads only.
        return time.clock_gettime((~process.pid << 3) | 2)
    times = process.cpu_times()
    return float(times.user + times.system)
