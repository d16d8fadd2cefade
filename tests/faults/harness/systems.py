"""The systems under test: a broker, and what runs on it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import kombu
import redis

from flask_celeriac import sqlite_opening
from tests.faults.harness import servers
from tests.faults.harness.completions import Completions
from tests.faults.harness.setup import Setup
from tests.faults.harness.zygote import Zygote
from tests.support import pieces, services

#: What §8 of the fault table calls "acks_late": what Celery's documentation advises.
LATE = {"task_acks_late": True, "task_reject_on_worker_lost": True}
#: A warning otherwise.
QUIET = {"broker_connection_retry_on_startup": True}
QUEUE = "celery"


@dataclass(frozen=True)
class System:
    """A column of the matrix.

    :param flavour: ``ours``, ``stock`` for Celery's defaults, ``late`` for Celery with late acks.
    """

    broker: str
    flavour: str

    def __str__(self) -> str:
        kind = {"ours": "", "stock": "Celery, ", "late": "Celery acks_late, "}[self.flavour]
        return f"{kind}{self.broker}"

    @property
    def is_ours(self) -> bool:
        return self.flavour == "ours"

    @property
    def zygote(self) -> str:
        return "ours" if self.is_ours else "stock"


OURS = tuple(System(broker, "ours") for broker in ("embedded", "redis", "rabbitmq"))
STOCK = tuple(
    System(broker, flavour) for broker in ("redis", "rabbitmq") for flavour in ("stock", "late")
)
SYSTEMS = (*OURS, *STOCK)
REDIS = tuple(system for system in SYSTEMS if system.broker == "redis")
RABBITMQ = tuple(system for system in SYSTEMS if system.broker == "rabbitmq")
EMBEDDED = OURS[:1]


@dataclass
class Place:
    """A system that is set up: its server runs, its tables are there, and no worker."""

    system: System
    folder: Path
    setup: Setup
    server: servers.Server | None
    zygote: Zygote
    completions: Completions | None = None
    #: Where processes reach the broker, if that is not where the harness does.
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def embedded_path(self) -> Path:
        return Path(self.setup.home) / "celeriac" / "celeriac.db"

    @property
    def broker_url(self) -> str:
        assert self.server is not None
        return self.server.url

    def with_settings(self, **changes: Any) -> Setup:
        """The setup of a process that differs in some of Celery's settings."""
        return replace(self.setup, celery={**self.setup.celery, **changes})

    def held(self, seed: int) -> set[int]:
        """The numbers of the tasks whose messages the broker has: those that a worker has, too,
        except on RabbitMQ, which tells only of those that wait."""
        pattern = re.compile(rf"fault-{seed}-(\d+)".encode())
        return {int(number) for text in self._messages() for number in pattern.findall(text)[:1]}

    def _messages(self) -> Iterator[bytes]:
        if self.system.broker == "embedded":
            yield from _rows(self.embedded_path)
        elif self.system.broker == "redis":
            yield from _values(self.broker_url)
        else:
            yield from waiting(self.broker_url)

    def complaints(self) -> list[str]:
        """What is wrong with the embedded file."""
        if self.system.broker != "embedded":
            return []
        db = sqlite_opening.connect(str(self.embedded_path))
        try:
            found = []
            for sql, good in (
                ("PRAGMA integrity_check", "ok"),
                ("SELECT count(*) FROM message WHERE claim IS NOT NULL", 0),
            ):
                [(answer,)] = db.execute(sql).fetchall()
                found += [] if answer == good else [f"{sql}: {answer}"]
            return found
        finally:
            db.close()


def _rows(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    db = sqlite_opening.connect(str(path))
    try:
        sql = "SELECT task_id FROM message WHERE task_id IS NOT NULL"
        return [str(task_id).encode() for (task_id,) in db.execute(sql)]
    finally:
        db.close()


def _values(url: str) -> Iterator[bytes]:
    """What is in the lists of a server, and in the hash of what workers have."""
    with redis.Redis.from_url(url, socket_timeout=10) as client:
        for key in client.scan_iter(count=1000):
            kind = client.type(key)
            if kind == b"list":
                yield from client.lrange(key, 0, -1)
            elif key.endswith(b"unacked"):
                yield from client.hvals(key)


def waiting(url: str, queue: str = QUEUE) -> list[bytes]:
    """The ids of the messages in a queue of RabbitMQ, which gets all of them back."""
    with kombu.Connection(url) as connection:
        channel = connection.channel()
        found = []
        try:
            while (message := channel.basic_get(queue)) is not None:
                found.append(str(message.headers.get("id")).encode())
        except connection.channel_errors:  # no such queue
            pass
        return found


@contextlib.contextmanager
def place(
    system: System, folder: Path, zygote: Zygote, *, server: dict[str, str] | None = None,
    records: str = "postgres", home: Path | None = None, extra: dict[str, Any] | None = None,
    **changes: Any,
) -> Iterator[Place]:  # fmt: skip
    """Set up a system, for the length of a ``with`` block.

    :param server: options of its server.
    :param records: ``postgres`` where there is one, or ``sqlite``.
    :param home: the folder for what the application keeps, if not one of its own.
    :param extra: what the recipe needs to know besides.
    :param changes: of its :class:`Setup`.
    """
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(servers.server(system.broker, folder / "server", **server or {}))
        setup = Setup(f"tests.faults.harness.{system.zygote}", str(home or folder / "home"))
        if made is not None:
            setup = replace(setup, broker=made.url)
        if system.is_ours and system.broker != "embedded":
            setup = replace(setup, database=_records(stack, folder, records))
        if not system.is_ours:
            settings = {**QUIET, **(LATE if system.flavour == "late" else {})}
            results = made.url if system.broker == "redis" and made else None
            setup = replace(setup, celery=settings, results=results)
        celery = {**setup.celery, **changes.pop("celery", {})}
        setup = replace(setup, celery=celery, **changes)
        Path(setup.home).mkdir(exist_ok=True)
        found = Place(system, folder, setup, made, zygote, extra=extra or {})
        if system.is_ours:
            _prepare(found)
            found.completions = Completions(setup.database or found.embedded_path)
        yield found


def _records(stack: contextlib.ExitStack, folder: Path, where: str) -> str:
    if where == "postgres" and not pieces.missing(services.POSTGRES):
        drop = "DROP DATABASE {} WITH (FORCE)"
        return stack.enter_context(pieces.sql_database(services.POSTGRES, drop=drop))
    return f"sqlite:///{folder / 'records.db'}"


def _prepare(found: Place) -> None:
    process = found.zygote.start(
        "tests.faults.harness.jobs:prepare",
        log=found.folder / "prepare.log",
        env=found.setup.environment,
    )
    process.wait()
    assert process.code == 0, process.output()
