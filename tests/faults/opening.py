"""How long it takes until a process has the file open, in milliseconds of this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from flask_celeriac import sqlite
from flask_celeriac.broker.store import Store


def measure(folder: Path, times: int, say: Callable[[str], None]) -> list[str]:
    folder.mkdir(parents=True)
    for what, path in (("a new file", "{}.db"), ("one that is there", "same.db")):
        took = []
        for number in range(times):
            store = Store(str(folder / path.format(number)), "normal")
            began = time.perf_counter()
            store.open()
            took.append((time.perf_counter() - began) * 1000)
            sqlite.file_at(store.path).close()
        say(f"{what}: median {statistics.median(took):.2f} ms, longest {max(took):.2f} ms")
    return []
