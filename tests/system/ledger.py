"""What happened, written down outside the system under test: one line an event, fsynced.

A line is ``kind number pid parent moment``; the moment is on the clock all processes share.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Line(NamedTuple):
    kind: str
    number: int
    pid: int
    parent: int
    moment: float


class Ledger:
    """The writing side, for any number of processes."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._descriptor = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)

    def write(self, kind: str, number: int, *, sync: bool = True) -> None:
        line = f"{kind} {number} {os.getpid()} {os.getppid()} {time.monotonic():.6f}\n"
        os.write(self._descriptor, line.encode())  # one write to O_APPEND: never torn
        if sync:
            os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class Tail:
    """The reading side: what was written since the last look."""

    def __init__(self, path: str | Path) -> None:
        self._file = Path(path).open(encoding="ascii")  # noqa: SIM115 - closed by close()
        self._rest = ""

    def read(self) -> list[Line]:
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        return [parse(line) for line in lines]

    def close(self) -> None:
        self._file.close()


def parse(line: str) -> Line:
    kind, number, pid, parent, moment = line.split()
    return Line(kind, int(number), int(pid), int(parent), float(moment))


@dataclass
class Story:
    """The ledger as a whole."""

    acked: set[int] = field(default_factory=set)
    starts: dict[int, list[Line]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[int, list[Line]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def read(cls, path: str | Path) -> Story:
        story = cls()
        for line in Path(path).read_text(encoding="ascii").splitlines():
            story.add(parse(line))
        return story

    def add(self, line: Line) -> None:
        if line.kind == "acked":
            self.acked.add(line.number)
        elif line.kind == "start":
            self.starts[line.number].append(line)
        elif line.kind == "end":
            self.ends[line.number].append(line)

    @property
    def lost(self) -> set[int]:
        """Acknowledged to the caller, never ended."""
        return self.acked - self.ends.keys()

    @property
    def unexpected(self) -> set[int]:
        """Ran without ever having been enqueued, as far as the caller knows."""
        return (self.starts.keys() | self.ends.keys()) - self.acked

    @property
    def duplicates(self) -> int:
        """Runs beyond the first of each task."""
        return sum(len(lines) - 1 for lines in self.starts.values())

    def overlaps(self) -> list[int]:
        """Tasks that ended in one process after another process had started them again."""
        found = []
        for number, ends in self.ends.items():
            starts = {line.pid: line.moment for line in self.starts[number]}
            for end in ends:
                began = starts[end.pid]
                later = [m for pid, m in starts.items() if pid != end.pid and m > began]
                if any(moment < end.moment for moment in later):
                    found.append(number)
        return found
