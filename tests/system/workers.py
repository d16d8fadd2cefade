"""Real workers, each a process group of its own, started, stopped and killed by their pids."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil
from celery.bin.celery import main

from tests.system.tasks import LEDGER, URL

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


def wait_for(what: Callable[[], T], description: str, seconds: float = 30.0) -> T:
    """Wait until something is true, and return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds} s still not: {description}")
        time.sleep(0.01)
    return found


def environment(url: str, ledger: str | Path | None = None, **more: str) -> dict[str, str]:
    env = {**os.environ, URL: url, "PYTHONPATH": str(ROOT), **more}
    if ledger is not None:
        env[LEDGER] = str(ledger)
    return env


#: Forks workers out of a process that has imported Celery already: a worker is there in a quarter
#: of a second, not in two, so that a kill every second leaves time to work.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "celery.bin.celery",
        "celery.apps.worker",
        "celery.concurrency.prefork",
        "celery.worker.consumer.mingle",
        "flask_celeriac.broker.transport",
        "flask_celeriac.records.backend",
        "flask_celeriac.sqlite_dbapi",
    ]
)


def _run_worker(module: str, options: tuple[str, ...], log: str, env: dict[str, str]) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    descriptor = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.argv[1:] = ["-A", module, "worker", "-l", "INFO", *options]
    sys.exit(main())


class Worker:
    """A ``celery worker`` process and its pool."""

    def __init__(
        self,
        url: str,
        *options: str,
        log: Path,
        ledger: str | Path | None = None,
        module: str = "tests.system.app",
        **env: str,
    ) -> None:
        self.log = log
        log.touch()
        self.process = _context.Process(
            target=_run_worker,
            args=(module, options, str(log), environment(url, ledger, **env)),
            daemon=False,
        )
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def ready(self) -> bool:
        self.check()
        return " ready." in self.output()

    def check(self) -> None:
        """Complain if it has ended."""
        assert self.process.exitcode is None, f"the worker ended:\n{self.output()}"

    def wait_ready(self) -> Worker:
        wait_for(lambda: self.ready, f"ready\n{self.output()}")
        return self

    def pids(self) -> list[int]:
        """The worker's main process and its pool's."""
        try:
            main = psutil.Process(self.pid)
            return [self.pid, *(child.pid for child in main.children())]
        except psutil.NoSuchProcess:
            return []

    def children(self) -> list[int]:
        return self.pids()[1:]

    def kill(self, *, group: bool = True) -> None:
        """SIGKILL to every process of the worker, or to its main process only."""
        if group:
            os.killpg(self.pid, signal.SIGKILL)
        else:
            os.kill(self.pid, signal.SIGKILL)

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 60.0) -> int:
        """Ask it to stop, and wait until it did."""
        if self.process.exitcode is None:
            os.kill(self.pid, how)
        return self.wait(seconds)

    def wait(self, seconds: float = 60.0) -> int:
        """Wait until its main process has ended, and return its exit code.

        A pool process waits up to 30 s for its last result to be noted, when it is asked to stop
        in the moment between.
        """
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.end()
            raise AssertionError(f"did not stop:\n{self.output()}")
        return self.process.exitcode

    def end(self) -> None:
        """Leave nothing of it."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.join()


@contextmanager
def worker(url: str, *options: str, log: Path, **kwargs: str | Path) -> Iterator[Worker]:
    """A worker that is ready, for the length of a ``with`` block."""
    started = Worker(url, *options, log=log, **kwargs)  # type: ignore[arg-type]
    try:
        yield started.wait_ready()
        if started.process.exitcode is None:
            started.stop()
    finally:
        started.end()


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
