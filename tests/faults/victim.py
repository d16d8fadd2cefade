"""A process that enqueues some tasks and runs them, started so that strace may interfere."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from tests.system.ledger import Ledger, Story
from tests.system.tasks import LEDGER, make_app
from tests.system.workers import _context, environment, wait_for

#: prctl(2): let any process of this user trace this one, where that is restricted.
_PR_SET_PTRACER, _PR_SET_PTRACER_ANY = 0x59616D61, -1
#: How long anything here may take on a machine that does other things too.
PATIENCE = 120.0
WORKER = ("worker", "-l", "INFO", "-P", "solo", "-c", "1", "--without-gossip", "--without-mingle")


@cache
def missing() -> str | None:
    """Why system calls cannot be interfered with here, None if they can."""
    if sys.platform != "linux" or not shutil.which("strace"):
        return "not tested: strace is not there, `apt-get install strace` brings it"
    with tempfile.TemporaryFile() as said:
        command = ("strace", "-qq", "-e", "inject=getpid:error=EIO:when=1..2", "true")
        tried = subprocess.run(command, stderr=said, stdout=said, check=False)
        said.seek(0)
        text = said.read().decode()
    return f"not tested: strace may not trace here: {text.strip()}" if tried.returncode else None


def live(env: dict[str, str], log: str, url: str, count: int, pipe: Pipe) -> None:
    """Enqueue, note what was acknowledged, then work until told to stop."""
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    descriptor = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _PR_SET_PTRACER_ANY, 0, 0, 0)
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
        self._strace: subprocess.Popen[bytes] | None = None

    def go(self) -> None:
        assert self.pipe.poll(PATIENCE), "the process did not start"
        self.pipe.recv()
        if self._options:
            command = ["strace", "-f", "-qq", "-o", str(self.trace), *self._options]
            self._strace = subprocess.Popen([*command, "-p", str(self.pid)])
            wait_for(lambda: self._traced() or self._strace_ended(), "traced", PATIENCE)
        self.pipe.send("go")

    def _traced(self) -> bool:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return "TracerPid:\t0\n" not in status

    def _strace_ended(self) -> bool:
        assert self._strace is not None
        assert self._strace.poll() is None, "strace ended"
        return False

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
        if self._strace is not None:
            self._strace.wait(PATIENCE)


@contextlib.contextmanager
def victim(folder: Path, url: str, count: int, options: Sequence[str] = ()) -> Iterator[Victim]:
    started = Victim(folder, url, count, options)
    try:
        started.go()
        yield started
    finally:
        started.end()
