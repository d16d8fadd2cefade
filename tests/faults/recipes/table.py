"""Which recipe is put to which system."""

from __future__ import annotations

import contextlib
import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.harness import servers
from tests.faults.harness.checker import Cell
from tests.faults.harness.session import Session, logs, session
from tests.faults.harness.systems import (
    EMBEDDED,
    OURS,
    RABBITMQ,
    REDIS,
    STOCK,
    SYSTEMS,
    System,
    place,
)
from tests.faults.harness.zygote import Zygote
from tests.faults.recipes import deploys, file, kills, messages, outages

Surroundings = Callable[[Path], AbstractContextManager[dict[str, Any]]]


@contextlib.contextmanager
def nothing(_: Path) -> Iterator[dict[str, Any]]:
    """No surroundings."""
    yield {}


@dataclass(frozen=True)
class Recipe:
    """A fault, and a workload that it hits.

    :param run: puts the faults; returns with the workers still at it.
    :param systems: where it makes sense.
    :param must_lose: where Celery loses, or the harness is broken.
    :param variant: of the server, told beside the system.
    :param server: options of the server.
    :param around: what has to be there besides, and further options of
        :func:`~tests.faults.harness.systems.place`; or ``not_tested``, the reason.
    """

    number: str
    title: str
    run: Callable[[Session, float], None]
    systems: tuple[System, ...] = SYSTEMS
    must_lose: tuple[System, ...] = ()
    variant: str = ""
    server: dict[str, str] = field(default_factory=dict)
    around: Surroundings = nothing

    def cell(self, system: System, folder: Path, zygote: Zygote, seed: int, scale: float) -> Cell:
        """Put it to a system."""
        name, title = f"{system}{self.variant}", f"{self.number} {self.title}"
        missing = servers.missing(system.broker)
        with self.around(folder) as found:
            if reason := found.get("not_tested") or missing:
                return Cell(title, name, system.is_ours, seed, not_tested=reason)
            with place(system, folder, zygote, **{"server": dict(self.server), **found}) as where:
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
        except Exception as error:  # noqa: BLE001 - the others are still to run
            running.cell.wrong.append("".join(traceback.format_exception(error)))
            running.outages = running.outages or 1
        running.stop_workers()
        return running.judge()


_EMBEDDED, _REDIS, _RABBITMQ = OURS
_STOCK_REDIS, _LATE_REDIS, _STOCK_RABBITMQ, _LATE_RABBITMQ = STOCK
SERVERS = (*REDIS, *RABBITMQ)
RECIPES = (
    Recipe(
        "T1",
        "SIGKILL to workers under load",
        kills.kill_loop,
        must_lose=(_STOCK_REDIS, _LATE_REDIS, _STOCK_RABBITMQ),
        around=kills.innocent,
    ),
    Recipe("T2", "tasks that kill their process", kills.poison),
    Recipe(
        "T3",
        "SIGKILL to main processes only",
        kills.orphans,
        must_lose=(_LATE_REDIS,),
    ),
    Recipe("T6", "a full disk", file.full_disk, EMBEDDED, around=file.small_disk),
    Recipe("T7", "workers that stand still", kills.stall, must_lose=()),
    Recipe("T8", "a writer that stands still", file.held_lock, EMBEDDED),
    *(
        Recipe(
            "T9",
            "SIGKILL to the Redis server",
            outages.kill_server,
            REDIS,
            variant=f", AOF {aof}",
            server={"aof": aof},
            must_lose=(_STOCK_REDIS, _LATE_REDIS) if aof == "none" else (),
        )
        for aof in ("always", "everysec", "none")
    ),
    Recipe("T10", "SIGKILL to the RabbitMQ server", outages.kill_server, RABBITMQ),
    Recipe("T10", "stop_app and start_app", outages.stop_application, RABBITMQ),
    Recipe("T10", "the memory alarm", outages.alarm, RABBITMQ),
    Recipe("T11", "a broken network", outages.partition, SERVERS, around=outages.namespace),
    Recipe(
        "T12",
        "deliveries that do not arrive",
        outages.drop_replies,
        SERVERS,
        must_lose=(_STOCK_REDIS, _LATE_REDIS),
    ),
    Recipe("T14", "no relay, no broker", outages.without_relay, OURS, around=outages.own_database),
    Recipe("T15", "commands beside it", file.looked_at, EMBEDDED),
    Recipe("T17", "a process for each task", kills.forks, OURS),
    Recipe("T21", "every way to stop a worker", deploys.shutdowns),
    Recipe("T22", "revoked while no worker is there", deploys.revocations, must_lose=STOCK),
    Recipe("T23", "a new version beside the old", deploys.rolling_deploy, must_lose=STOCK),
    Recipe("T24", "garbage between the tasks", messages.garbage),
    Recipe(
        "T25",
        "chords, killed and delivered twice",
        messages.chords,
        (*OURS, _STOCK_REDIS, _LATE_REDIS),
        must_lose=(_STOCK_REDIS,),
        around=kills.innocent,
    ),
)
