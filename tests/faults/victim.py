"""A process that enqueues some tasks and runs them, started so that strace may interfere."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from tests.faults import tracing
from tests.faults.tracing import PATIENCE
from tests.system.ledger import Ledger, Story
from tests.system.tasks import LEDGER, make_app
from tests.system.workers import _context, environment, wait_for

WORKER = ("worker", "-l", "INFO", "-P", "solo", "-c", "1", "--without-gossip", "--without-mingle")


def live(env: dict[str, str], log: str, url: str, count: int, pipe: Pipe) -> None:
    """Enqueue, note what was acknowledged, then work until told to stop."""
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    descriptor = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    tracing.allow()
    pipe.send("ready")
    pipe.recv()
    ledger = Ledger(os.environ[LEDGER])
    app = make_app(url)
    for number in range(count):
        try:
            app.tasks["work"].apply_async((number, 1), task_id=f"fault-{number}")
        except Exception as error:  # noqa: BLE001 - refused in whatever words: it does not count
            print(f"task {number} was refused: {error!r}", flush=True)
        else:
            ledger.write("acked", number)
    ledger.write("sent", count)
    app.worker_main([*WORKER, "-n", f"victim-{os.getpid()}"])


class Victim:
    """The process, and the strace that is at it."""

    def __init__(self, folder: Path, url: str, count: int, options: Sequence[str] = ()) -> None:
        self.log, self.ledger, self.trace = folder / "log", folder / "ledger", folder / "trace"
        self._options = options
        self.pipe: Pipe
        self.pipe, theirs = _context.Pipe()
        env = environment(url, self.ledger)
        self.process = _context.Process(
            target=live, args=(env, str(self.log), url, count, theirs), daemon=False
        )
        self.process.start()
        theirs.close()
        assert self.process.pid is not None
        self.pid = self.process.pid
        self._tracer: tracing.Tracer | None = None

    def go(self) -> None:
        assert self.pipe.poll(PATIENCE), "the process did not start"
        self.pipe.recv()
        if self._options:
            self._tracer = tracing.Tracer(self.pid, self._options, self.trace)
        self.pipe.send("go")

    @property
    def alive(self) -> bool:
        return self.process.exitcode is None

    def story(self) -> Story:
        return Story.read(self.ledger)

    def wait_done_or_dead(self) -> None:
        """Until all that was acknowledged has ended, or it has."""
        wait_for(
            lambda: not self.alive or (self._sent() and not self.story().lost),
            f"done or dead\n{self.output()}",
            PATIENCE,
        )

    def _sent(self) -> bool:
        return self.ledger.exists() and "sent " in self.ledger.read_text()

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self) -> None:
        """Ask it to stop, as a service manager would."""
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)
        self.process.join(PATIENCE)

    def end(self) -> None:
        """Leave nothing of it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.process.join()
        self.process.close()
        self.pipe.close()
        if self._tracer is not None:
            self._tracer.wait()


@contextlib.contextmanager
def victim(folder: Path, url: str, count: int, options: Sequence[str] = ()) -> Iterator[Victim]:
    started = Victim(folder, url, count, options)
    try:
        started.go()
        yield started
    finally:
        started.end()
