"""Keep several processes running: restart on crash and on change, stop them all in the end."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from .output import Output
from .process import WINDOWS, Guard, Process, Program, State

BACKOFF = (0.5, 1.0, 2.0, 4.0, 8.0)
SAME_PRESS = 0.3
"""Seconds in which a second SIGINT is the same Ctrl-C, passed on by a wrapper."""
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


class Supervisor:
    """Runs programs until a signal says stop. All work is done in the thread of :meth:`run`;
    threads and signal handlers only put calls into its queue.

    :param programs: what to run.
    :param output: where their lines and ours go.
    :param reloads: whether changes will come, so that a program that cannot start may wait.
    """

    def __init__(self, programs: Sequence[Program], output: Output, *, reloads: bool) -> None:
        self._programs = programs
        self._output = output
        self._reloads = reloads
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._processes: list[Process] = []
        self._stopping = False
        self._stopped_at = 0.0

    def changed(self, paths: list[Path]) -> None:
        """Tell that source files changed; may be called from any thread."""
        self._calls.put(lambda: self._on_change(paths))

    def unwatched(self, reason: str) -> None:
        """Tell that changes will not be seen; may be called from any thread."""
        self._calls.put(lambda: self._on_unwatched(reason))

    def run(self) -> None:
        """Start everything and return when everything has stopped."""
        guard = None if WINDOWS else Guard()
        self._processes = [
            Process(program, self._output, guard, self._ended) for program in self._programs
        ]
        try:
            with self._signals():
                for process in self._processes:
                    process.start()
                while not self._stopping or any(process.alive for process in self._processes):
                    self._step()
        finally:
            if guard is not None:
                guard.close()

    def _step(self) -> None:
        dues = [process.due for process in self._processes if process.due is not None]
        # Windows does not interrupt a wait for a signal.
        wait = [max(0.0, min(dues) - time.monotonic())] if dues else []
        timeout = min([*wait, 0.5]) if WINDOWS else min(wait, default=None)
        with contextlib.suppress(queue.Empty):
            self._calls.get(timeout=timeout)()
        now = time.monotonic()
        for process in self._processes:
            if process.due is not None and process.due <= now:
                if process.state is State.STOPPING:
                    process.escalate()
                else:
                    process.start()

    def _ended(self, process: Process, code: int) -> None:
        self._calls.put(lambda: self._on_end(process, code))

    def _on_end(self, process: Process, code: int) -> None:
        expected = process.state is State.STOPPING
        process.clean_up()
        process.state = State.ENDED
        if self._stopping:
            return
        if expected and process.restart:
            process.crashes = 0
            process.start()
        elif not expected:
            self._on_crash(process, code)

    def _on_crash(self, process: Process, code: int) -> None:
        what = f"{process.name} {_how(code)}"
        if process.program.shell and code == 0:
            self._output.say(what)
            return
        if process.settled:
            process.crashes = 0
        elif code > 0 and self._reloads and process.program.reloads:
            process.state = State.FAILED
            self._output.say(f"{what}: it starts again when a file changes", fg="red")
            return
        seconds = BACKOFF[min(process.crashes, len(BACKOFF) - 1)]
        process.crashes += 1
        process.state, process.due = State.BACKOFF, time.monotonic() + seconds
        self._output.say(f"{what}: starting it again in {seconds:g} s", fg="red")

    def _on_change(self, paths: list[Path]) -> None:
        if self._stopping:
            return
        self._output.say(f"{_names(paths)} changed: restarting", fg="yellow")
        for process in self._processes:
            if not process.program.reloads:
                continue
            process.crashes = 0
            if process.alive:
                process.stop(restart=True)
            else:
                process.start()

    def _on_unwatched(self, reason: str) -> None:
        self._reloads = False
        self._output.say(f"changes are not seen, start dev again after them: {reason}", fg="red")
        for process in self._processes:
            if process.state is State.FAILED:
                process.start()

    def _on_signal(self, number: int) -> None:
        if self._stopping:
            pressed_again = time.monotonic() - self._stopped_at > SAME_PRESS
            if number == signal.SIGINT and pressed_again:
                self._kill()
            return
        self._stopping, self._stopped_at = True, time.monotonic()
        self._output.say("stopping (Ctrl-C again to kill)")
        for process in self._processes:
            process.stop(restart=False)

    def _kill(self) -> None:
        self._output.say("killing what is left", fg="red")
        for process in self._processes:
            if process.alive:
                process.kill()

    @contextlib.contextmanager
    def _signals(self) -> Generator[None, None, None]:
        previous: dict[int, object] = {}
        for name in SIGNALS:
            number = getattr(signal, name, None)
            # Who started us with nohup does not want to hear of a hangup.
            if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                continue
            previous[number] = signal.signal(
                number, lambda got, _: self._calls.put(lambda: self._on_signal(got))
            )
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)  # type: ignore[arg-type]


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _names(paths: list[Path]) -> str:
    shown = [os.path.relpath(path) for path in paths[:3]]
    return ", ".join(shown) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
