"""What workers leave for the harness to see: a count of the tasks run, and that they are ready.

Each process that runs tasks maps one small file in ``$BENCH_MARKS`` and counts in it, which costs
well under a microsecond a task and no system call. A worker that is ready to consume waits until
all are, so that no drain includes the start of a worker.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery.signals import worker_ready

#: Tasks run, the sum of what they were given, and the moments of the first and the last of them
#: on the clock all processes share.
_CELL = struct.Struct("<QQQQ")
_GO = "go"

_cells: dict[int, tuple[mmap.mmap, int]] = {}


@dataclass(frozen=True)
class Ticks:
    """Tasks run by all processes.

    :param total: the sum of what they were given, which shows that none stood in for another
    :param seconds: between the first and the last of them
    """

    count: int
    total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tasks in a second, from the first to the last."""
        return (self.count - 1) / self.seconds if self.seconds else 0.0


def tick(given: int) -> None:
    """Count a task of this process."""
    pid, now = os.getpid(), time.monotonic_ns()
    if pid not in _cells:
        path = Path(os.environ["BENCH_MARKS"], f"{pid}.ticks")
        path.with_suffix(".new").write_bytes(bytes(_CELL.size))
        path.with_suffix(".new").rename(path)  # of which nobody reads a half
        with path.open("r+b") as file:
            _cells[pid] = (mmap.mmap(file.fileno(), _CELL.size), now)
    cell, first = _cells[pid]
    count, total, _, _ = _CELL.unpack_from(cell)
    _CELL.pack_into(cell, 0, count + 1, total + given, first, now)


def read(directory: Path) -> Ticks:
    """Add up the ticks of all processes."""
    cells = [_CELL.unpack(path.read_bytes()) for path in directory.glob("*.ticks")]
    cells = [cell for cell in cells if cell[0]]
    if not cells:
        return Ticks(0, 0, 0.0)
    first, last = min(cell[2] for cell in cells), max(cell[3] for cell in cells)
    return Ticks(
        sum(cell[0] for cell in cells), sum(cell[1] for cell in cells), (last - first) / 1e9
    )


def ready(directory: Path) -> int:
    """How many workers are ready."""
    return sum(1 for _ in directory.glob("*.ready"))


def go(directory: Path) -> None:
    """Let the workers begin."""
    (directory / _GO).touch()


@worker_ready.connect(weak=False)
def _on_ready(**_: Any) -> None:
    directory = Path(os.environ["BENCH_MARKS"])
    (directory / f"{os.getpid()}.ready").touch()
    while not (directory / _GO).exists():
        time.sleep(0.001)
