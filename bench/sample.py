"""Which of the sent tasks have their results looked up afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flask_celeriac.task_ids import new_id

#: Of a longer queue only so many results are looked up, evenly spread.
LARGEST = 10_000


@dataclass
class Sample:
    """Numbers and ids of tasks.

    :param count: how many tasks are sent
    """

    count: int
    kept: list[tuple[int, str]] = field(default_factory=list)

    def keep(self, number: int, task_id: str) -> None:
        """Take note of a task, if it is one of the sample."""
        if number % -(-self.count // LARGEST) == 0:
            self.kept.append((number, task_id))

    def ids(self, numbers: range) -> Iterator[str]:
        """A new id for each number, as ``delay`` makes them."""
        for number in numbers:
            task_id = new_id()
            self.keep(number, task_id)
            yield task_id

    def write(self, path: Path) -> None:
        """Leave it for another process."""
        path.write_text(json.dumps(self.kept))


def read(path: Path) -> list[tuple[int, str]]:
    """What :meth:`Sample.write` left."""
    return [(number, task_id) for number, task_id in json.loads(path.read_text())]
