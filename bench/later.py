"""Tasks that wait for a day: sent once, their file copied for each repetition."""

from __future__ import annotations

import shutil
from pathlib import Path

from . import processes
from .systems import System


def lay(system: System, count: int, home: Path, prepared: Path) -> None:
    """Put waiting tasks into a system that is about to be measured.

    :param home: the directory of the repetition
    :param prepared: a directory that outlives it, made and filled the first time
    """
    if not prepared.exists():
        marks_in = prepared / "marks"
        marks_in.mkdir(parents=True)
        with system.running(prepared) as own:
            environment = {**own, "BENCH_MARKS": str(marks_in)}
            processes.client("enqueue-later", system.app, environment, count=count)
        shutil.rmtree(marks_in)
    shutil.copytree(prepared, home, dirs_exist_ok=True)
