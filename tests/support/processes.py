"""Start a command, read what it writes, end it: nothing of it is left."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil

from tests.support import leaks
from tests.support.leaks import MARK

#: Generous: the machine may be busy with other tests. Nothing waits longer than it has to.
PATIENCE = 60.0
#: What would configure an application under test.
CONFIGURING = ("FLASK", "CELERY", "CELERIAC", "MAIL_", "SQLALCHEMY_")
#: Every process of a command inherits this, also when its parent has died.
COMMAND = "TEST_COMMAND"

T = TypeVar("T")


def wait_for(what: Callable[[], T | None], why: str, seconds: float = PATIENCE) -> T:
    """The first truthy answer.

    :param why: what is waited for, told when it does not come.
    """
    end = time.monotonic() + seconds
    while True:
        if answer := what():
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain: {why}")
        time.sleep(0.05)


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def clean_environment(**settings: str) -> dict[str, str]:
    """The machine's environment without what would configure an application, plus settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name == MARK or not name.startswith(CONFIGURING)
    }
    return kept | settings


class Running:
    """A command that was started, in a process group of its own.

    :param command: what to run.
    :param cwd: where.
    :param env: its whole environment.
    """

    def __init__(self, *command: str, cwd: Path, env: Mapping[str, str]) -> None:
        self._mark = uuid.uuid4().hex
        # A file, not a pipe: nobody has to read it, and it is complete when the command has ended.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={"PYTHONUNBUFFERED": "1", **env, COMMAND: self._mark},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __repr__(self) -> str:
        return " ".join(map(str, self.process.args))  # type: ignore[arg-type]

    @property
    def output(self) -> str:
        """Everything it wrote until now."""
        # The place to write at is shared with the command: read without moving it.
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def sees(self, what: str | re.Pattern[str], seconds: float = PATIENCE) -> re.Match[str]:
        """Wait until it has written a text, or what a pattern matches.

        :raises AssertionError: when it ends without, or does not write it in time.
        """
        pattern = re.compile(re.escape(what)) if isinstance(what, str) else what

        def look() -> re.Match[str] | None:
            ended = self.process.poll() is not None
            match = pattern.search(self.output)
            assert match or not ended, f"{self} ended without {what!r}:\n{self.output}"
            return match

        try:
            return wait_for(look, f"{self} to write {what!r}", seconds)
        except AssertionError:
            print(self.output)
            raise

    def alive(self) -> list[psutil.Process]:
        """It and every process that came from it."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get(COMMAND) == self._mark
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def ends(self, seconds: float = PATIENCE) -> int:
        """Wait for the end of it and of everything that came from it; the exit code."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        else:
            _, left = psutil.wait_procs(self.alive(), timeout=leaks.GRACE)
            if not left:
                return code
        left = self.alive()
        self.kill()
        raise AssertionError(f"{self} left {left} running, having written:\n{self.output}")

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """Ask its main process to end, and wait until nothing of it is left; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.ends()

    def kill(self) -> None:
        """SIGKILL to every process of it."""
        while left := self.alive():
            for process in left:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    pass
            psutil.wait_procs(left, timeout=5)
        self.process.wait()

    def close(self) -> None:
        """Give its log back; there is no output after this."""
        self._log.close()


@contextmanager
def running(*command: str, cwd: Path, env: Mapping[str, str]) -> Iterator[Running]:
    """A command for the length of a ``with`` block.

    When the block fails, what the command wrote is printed, for pytest to show.
    """
    started = Running(*command, cwd=cwd, env=env)
    try:
        yield started
        started.stop()
    except BaseException:
        print(f"--- {started} wrote:\n{started.output}")
        raise
    finally:
        started.kill()
        started.close()
