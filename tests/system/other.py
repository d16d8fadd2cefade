"""Another Python process with a pipe to it, for a test that needs two."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

_context = multiprocessing.get_context("forkserver")


class Other:
    """Runs ``target(first, pipe, *arguments)`` in a process that is gone afterwards."""

    def __init__(self, target: Callable[..., None], first: str, *arguments: Any) -> None:
        self.pipe: Connection
        self.pipe, theirs = _context.Pipe()
        self.process = _context.Process(target=target, args=(first, theirs, *arguments))
        self.process.start()
        theirs.close()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def receive(self, seconds: float = 90.0) -> Any:
        assert self.pipe.poll(seconds), "the other process says nothing"
        return self.pipe.recv()

    def send(self, word: object) -> None:
        self.pipe.send(word)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def join(self, seconds: float = 90.0) -> int:
        self.process.join(seconds)
        assert self.process.exitcode is not None, "the other process does not end"
        return self.process.exitcode

    def __enter__(self) -> Other:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self.process.close()
        self.pipe.close()
