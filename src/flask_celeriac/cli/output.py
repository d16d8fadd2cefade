"""Many processes, one terminal: every line says whose it is."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from typing import IO, BinaryIO

import click

#: How a terminal is told of colours (ECMA-48, SGR), as Flask's server does for its requests.
_COLORED = re.compile(rb"\x1b\[[\d;]*m")
COLORS = ("cyan", "green", "yellow", "magenta", "blue", "bright_red")


def wants_color(stream: IO[str]) -> bool:
    """Whether to colour: a terminal, and no ``NO_COLOR`` in the environment."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


class Output:
    """Writes whole lines, each behind the name of the process it came from.

    :param names: the processes, in the order of their colours; the longest sets the width.
    :param stream: where to, in bytes: what a process wrote is passed on as it is.
    :param color: whether names are coloured; else the colours of others are taken out, too.
    """

    def __init__(self, names: Sequence[str], stream: BinaryIO, *, color: bool) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        width = max(len(name) for name in (*names, "dev"))
        self._prefixes = {
            name: _prefix(name, width, COLORS[i % len(COLORS)] if color else None)
            for i, name in enumerate(names)
        }
        self._prefixes["dev"] = _prefix("dev", width, "white" if color else None)
        self._color = color

    def say(self, text: str, *, fg: str | None = None) -> None:
        """Write a line of our own.

        :param text: one line or several.
        :param fg: its colour where there is colour.
        """
        for line in text.splitlines():
            self.line("dev", (click.style(line, fg=fg) if self._color else line).encode())

    def line(self, name: str, line: bytes) -> None:
        """Write one line of a process, without its newline."""
        if not self._color:
            line = _COLORED.sub(b"", line)
        with self._lock:
            try:
                self._stream.write(self._prefixes[name] + line + b"\n")
                self._stream.flush()
            except (OSError, ValueError):
                # The terminal is gone; what follows is its SIGHUP.
                pass

    def pump(self, name: str, pipe: BinaryIO) -> None:
        """Pass on what a process writes until it closes its end."""
        with pipe:
            for line in pipe:
                self.line(name, line.rstrip(b"\r\n"))


def _prefix(name: str, width: int, color: str | None) -> bytes:
    text = f"{name:<{width}} | "
    return (click.style(text, fg=color) if color else text).encode()
