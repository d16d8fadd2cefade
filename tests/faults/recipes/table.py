"""Which recipe is put to which system."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.harness import servers
from tests.faults.harness.checker import Cell
from tests.faults.harness.session import Session, Slow, logs, session
from tests.faults.harness.systems import SYSTEMS, System, place
from tests.faults.harness.zygote import Zygote
from tests.faults.recipes import kills

Say = Callable[[str], None]
NOTHING: dict[str, Any] = {}


class NotTested(Exception):
    """What is missing for a recipe on this machine."""


@dataclass(frozen=True)
class Recipe:
    """A fault, and a workload that it hits.

    :param run: puts the faults; returns with the workers still at it, or raises :exc:`NotTested`.
    :param systems: where it makes sense.
    :param must_lose: where Celery loses, or the harness is broken.
    :param variant: of the server, told beside the system.
    :param options: of :func:`~tests.faults.harness.systems.place`.
    """

    number: str
    title: str
    run: Callable[[Session, float], None]
    systems: tuple[System, ...] = SYSTEMS
    must_lose: tuple[System, ...] = ()
    variant: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def cell(self, system: System, folder: Path, zygote: Zygote, seed: int, scale: float) -> Cell:
        name = f"{system}{self.variant}"
        title = f"{self.number} {self.title}"
        if reason := servers.missing(system.broker):
            return Cell(title, name, system.is_ours, seed, not_tested=reason)
        options = {key: dict(value) if isinstance(value, dict) else value
                   for key, value in self.options.items()}  # fmt: skip
        with place(system, folder, zygote, **options) as where:
            with session(where, seed, title) as running:
                running.cell.system = name
                cell = self._judge(running, scale)
                cell.must_lose = system in self.must_lose
            if cell.complaints():
                cell.logs = logs(folder)
        shutil.rmtree(folder, ignore_errors=True)
        return cell

    def _judge(self, running: Session, scale: float) -> Cell:
        try:
            self.run(running, scale)
            running.settle()
            running.stop_workers()
            return running.judge()
        except NotTested as reason:
            running.cell.not_tested = str(reason)
        except (Slow, Exception) as error:  # noqa: BLE001 - the others are still to run
            running.cell.wrong.append("".join(traceback.format_exception(error)))
            running.cell.injections = running.cell.injections or 1
        running.cell.seconds = time.monotonic() - running.begun
        return running.cell


_OF = {str(system): system for system in SYSTEMS}
RECIPES = (
    Recipe(
        "T1",
        "SIGKILL to workers under load",
        kills.kill_loop,
        must_lose=(_OF["Celery, redis"], _OF["Celery acks_late, redis"], _OF["Celery, rabbitmq"]),
    ),
)
