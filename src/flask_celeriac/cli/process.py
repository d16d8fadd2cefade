"""One supervised process: start it, stop it in steps, take its whole group with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import cast

from . import guard as guard_script
from .output import Output

WINDOWS = sys.platform == "win32"
SETTLED = 10.0
"""Seconds after which a process counts as having started well."""


@dataclass(frozen=True)
class Program:
    """What to run and how to stop it.

    :param name: what its lines are prefixed with.
    :param argv: the command, or one string for the shell.
    :param env: its whole environment.
    :param stops: signals and how many seconds each may take; SIGKILL comes after the last.
    :param reloads: whether a change of the code restarts it.
    :param pass_fds: file descriptors it inherits.
    """

    name: str
    argv: Sequence[str] | str
    env: Mapping[str, str]
    stops: tuple[tuple[str, float], ...] = (("SIGTERM", 5.0),)
    reloads: bool = True
    pass_fds: tuple[int, ...] = ()

    @property
    def shell(self) -> bool:
        """Whether the command is for the shell."""
        return isinstance(self.argv, str)


class State(Enum):
    """What a supervised process is at."""

    RUNNING = "running"
    STOPPING = "stopping"
    BACKOFF = "waiting to be started again"
    FAILED = "waiting for a change"
    ENDED = "ended"


class Guard:
    """Our end of the pipe to :mod:`.guard`, which outlives us if we are killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(guard_script.__file__))],
            stdin=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin

    @property
    def alive(self) -> bool:
        """Whether it is there; writing to one that is gone would end a new process."""
        return self._process.poll() is None

    def enter(self) -> None:
        """Called in a new process before it becomes its program: so there is no moment in which
        we could be killed and the guard would not know of it."""
        self._tell(f"+{os.getpid()}")

    def leave(self, pid: int) -> None:
        """Called when a process group has ended."""
        self._tell(f"-{pid}")

    def close(self) -> None:
        """Let it go: it stops what is still on its list."""
        self._pipe.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._pipe.write(f"{line}\n".encode())


class Process:
    """A program and the process that runs it now, if any.

    :param program: what to run.
    :param output: where its lines go.
    :param guard: told of every process group, or ``None`` where there are none.
    :param ended: called from a thread when a process has ended: with this and its exit code.
    """

    def __init__(
        self,
        program: Program,
        output: Output,
        guard: Guard | None,
        ended: Callable[[Process, int], None],
    ) -> None:
        self.program = program
        self.state = State.ENDED
        self.due: float | None = None
        self.restart = False
        self.crashes = 0
        self._output = output
        self._guard = guard
        self._ended = ended
        self._popen: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._started = 0.0
        self._steps: Iterator[tuple[str, float]] = iter(())

    @property
    def name(self) -> str:
        """The program's name."""
        return self.program.name

    @property
    def alive(self) -> bool:
        """Whether a process is there, even if it is being stopped."""
        return self.state in (State.RUNNING, State.STOPPING)

    @property
    def settled(self) -> bool:
        """Whether the last process ran long enough to have started well."""
        return time.monotonic() - self._started >= SETTLED

    def start(self) -> None:
        """Start a process in a group of its own."""
        program = self.program
        guard = self._guard if self._guard is not None and self._guard.alive else None
        popen = subprocess.Popen(
            program.argv,
            shell=program.shell,
            env=program.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=program.pass_fds,
            start_new_session=not WINDOWS,
            preexec_fn=guard.enter if guard is not None else None,  # noqa: PLW1509 - one write
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._popen, self._started = popen, time.monotonic()
        self.state, self.due, self.restart = State.RUNNING, None, False
        assert popen.stdout is not None
        self._reader = threading.Thread(
            target=self._output.pump, args=(self.name, popen.stdout), daemon=True
        )
        self._reader.start()
        threading.Thread(target=lambda: self._ended(self, popen.wait()), daemon=True).start()

    def stop(self, *, restart: bool) -> None:
        """Begin to stop it; :meth:`escalate` goes on when :attr:`due` has come.

        :param restart: whether it shall start again when it has stopped.
        """
        if self.state is State.RUNNING:
            self.state = State.STOPPING
            self._steps = iter(self.program.stops)
            self.escalate()
        elif not self.alive:
            self.state, self.due = State.ENDED, None
        self.restart = restart

    def escalate(self) -> None:
        """Take the next step of stopping: the next signal, and SIGKILL in the end."""
        name, seconds = next(self._steps, ("SIGKILL", None))
        self.due = None if seconds is None else time.monotonic() + seconds
        if name == "SIGKILL":
            self.kill()
        else:
            self._signal(name)

    def kill(self) -> None:
        """End the whole group now."""
        assert self._popen is not None
        if WINDOWS:
            subprocess.run(
                ["taskkill", "/F", "/T", "/PID", str(self._popen.pid)],
                capture_output=True,
                check=False,
            )
        else:
            _kill_group(self._popen.pid)

    def clean_up(self) -> None:
        """After the main process has ended: end what it left, and show its last lines."""
        assert self._popen is not None
        assert self._reader is not None
        if not WINDOWS:
            _kill_group(self._popen.pid)
        if self._guard is not None:
            self._guard.leave(self._popen.pid)
        self._reader.join(timeout=1)
        self.due = None

    def _signal(self, name: str) -> None:
        assert self._popen is not None
        if sys.platform == "win32":
            self._popen.send_signal(signal.CTRL_BREAK_EVENT)
            return
        number = cast(int, getattr(signal, name))
        # A shell has to pass it on; a worker's pool must not get it, only its main process.
        send = os.killpg if self.program.shell else os.kill
        with contextlib.suppress(ProcessLookupError):
            send(self._popen.pid, number)


def _kill_group(pid: int) -> None:
    if sys.platform != "win32":
        # macOS says EPERM of a group in which only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
