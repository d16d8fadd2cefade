"""Which workers there are, and what they are at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery

#: Seconds in which a worker has to answer.
PATIENCE = 1.0


@dataclass(frozen=True)
class Worker:
    """A worker that is alive: it has answered just now.

    :param name: such as ``celery@shop-1``
    :param pool: ``prefork``, ``solo``, ``threads``, ...
    :param concurrency: how many tasks it runs at a time
    :param queues: those it consumes
    :param running: the ids of the tasks it runs
    :param tasks: the names of the tasks it knows
    :param uptime: seconds
    """

    name: str
    pid: int | None
    pool: str | None
    concurrency: int | None
    queues: tuple[str, ...]
    running: tuple[str, ...]
    tasks: tuple[str, ...]
    uptime: float | None


def list_workers(app: FlaskCelery, *, timeout: float = PATIENCE) -> list[Worker]:
    """The workers that answer, by name.

    :param timeout: seconds they are given, which is how long this takes
    :raises kombu.exceptions.OperationalError: the broker is out of reach
    """
    answers = app.control.broadcast("celeriac_worker", reply=True, timeout=timeout, limit=None)
    workers = [
        _worker(name, said)
        for answer in answers or ()
        for name, said in answer.items()
        if isinstance(said, dict) and "error" not in said
    ]
    return sorted(workers, key=lambda worker: worker.name)


def held_back(app: FlaskCelery, task_id: str, *, timeout: float = PATIENCE) -> str | None:
    """What keeps a worker from beginning a task that it has taken.

    :param timeout: as :func:`list_workers` takes it
    :return: ``rate_limit``, or ``prefetch`` where it has taken more than it runs; None where it has
        begun, or no worker says that it has it
    :raises kombu.exceptions.OperationalError: the broker is out of reach
    """
    answers = app.control.broadcast(
        "celeriac_held", {"task_id": task_id}, reply=True, timeout=timeout, limit=None
    )
    said = [said for answer in answers or () for said in answer.values()]
    held = [each.get("held") for each in said if isinstance(each, dict)]
    return next((str(each) for each in held if each), None)


def _worker(name: str, said: dict[str, Any]) -> Worker:
    return Worker(
        name=name,
        pid=said.get("pid"),
        pool=said.get("pool"),
        concurrency=said.get("concurrency"),
        queues=tuple(said.get("queues") or ()),
        running=tuple(said.get("running") or ()),
        tasks=tuple(said.get("tasks") or ()),
        uptime=said.get("uptime"),
    )
