"""Where keys of unique tasks, slots and rates are kept: beside the queue, or with the records."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .. import brokers
from ..errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from ..celery_app import FlaskCelery
    from ..config import Settings

#: Rows that one transaction of forgetting deletes of each table, at most.
FORGET = 1000
#: Seconds for which slots and places are left alone by that.
OLD = 3600.0


@dataclass(frozen=True)
class Reservation:
    """A key that a task about to be sent asks for.

    :param until: how long it has it in any case, in seconds since the epoch; None to leave that
    :param waiting: whether it has it only while it waits in its queue
    :param lasting: whether it has it until then also when it has ended
    :param pending: whether a transaction that may be rolled back decides if it is sent
    :param adopted: whether it is to be sent in the place of a pending one, under its id
    """

    key: str
    task_id: str
    until: float | None
    waiting: bool
    lasting: bool
    pending: bool = False
    adopted: bool = False


@dataclass(frozen=True)
class Slots:
    """What came of asking for a slot; as :class:`~flask_celeriac.broker.limit_queries.Slots`."""

    number: int
    ticket: int
    before: int
    tag: str


class Ledger(Protocol):
    """What unique tasks and limits need to have kept."""

    #: Whether a task that is acknowledged when it begins can be followed until its end.
    follows_early_acks: bool

    @abstractmethod
    def holder(self, asked: Reservation) -> str | None:
        """The task that has the key, None where it is free."""

    @abstractmethod
    def reserve(self, asked: Reservation) -> str | None:
        """Take the key, or return another task that has it."""

    @abstractmethod
    def is_pending(self, asked: Reservation, holder: str) -> bool:
        """Whether the task that has the key is in an outbox, as far as anybody knows."""

    @abstractmethod
    def reserving(self, asked: Reservation) -> AbstractContextManager[None]:
        """Take the key with the task that the block sends, or raise ``NotPutError`` there."""

    @abstractmethod
    def release(self, asked: Reservation) -> None:
        """Take the key back from a task that was not sent."""

    @abstractmethod
    def take_slot(self, key: str, at_once: int, request: Any, ticket: int) -> Slots:
        """Take a slot of a limit, or a place in the line."""

    @abstractmethod
    def give_slot_back(self, key: str, number: int, tag: str) -> None:
        """Free a slot."""

    @abstractmethod
    def slots_taken(self, key: str) -> int:
        """How many slots of a limit are taken."""

    @abstractmethod
    def in_line(self, task_id: str) -> str | None:
        """The key of the limit in whose line a task is."""

    @abstractmethod
    def advance(self, key: str, interval: float) -> float:
        """Count one more begin for a rate; the moment that is kept for the key now."""

    @abstractmethod
    def forget(self) -> int:
        """Delete some of what says nothing any more; return how many rows.

        Fewer than :data:`FORGET` say that nothing is left.
        """


NO_PLACE = (
    "unique=, concurrency= and rate= are counted in a database that everybody who sends tasks and"
    " all workers reach, as this broker cannot do it: set CELERIAC_DATABASE to the URL of one, or"
    " use the embedded broker."
)


NO_END = (
    "with acks_late=False nothing tells whether a run has ended: leave acks_late on, as it is by"
    " default, or leave out concurrency=."
)


def check_acks(settings: Settings, tasks: Mapping[str, Mapping[str, Any]]) -> None:
    """Look whether the ends of tasks that are counted will be noticed on the embedded broker.

    :param tasks: the options of tasks, by their names
    :raises ConfigError: one of them will not
    """
    if _is_elsewhere(settings):
        return
    usual = settings.celery.get("task_acks_late", True)
    for name, options in tasks.items():
        if options.get("concurrency") is not None and not options.get("acks_late", usual):
            raise ConfigError(f"{name}: {NO_END}")


def _is_elsewhere(settings: Settings) -> bool:
    """Whether another broker than the embedded one is configured."""
    celery = settings.celery
    broker = celery.get("broker_write_url") or celery.get("broker_url")
    return bool(broker) and brokers.kind_of_url(broker) != "embedded"


def check(settings: Settings, tasks: Sequence[str]) -> None:
    """Look whether there is a place, as far as the configuration tells before Celery reads it.

    :param tasks: the tasks that need one
    :raises ConfigError: there is none
    """
    backend = str(settings.celery.get("result_backend"))
    recorded = settings.options.database or backend.startswith("celeriac")
    if tasks and _is_elsewhere(settings) and not recorded:
        raise ConfigError(f"{', '.join(tasks)}: {NO_PLACE}")


def ledger_of(app: FlaskCelery) -> Ledger:
    """What is kept for an application.

    :raises ConfigError: there is no place for it
    """
    from ..operations.sources import embedded_store  # with SQLAlchemy
    from ..urls import records_url

    conf: Any = app.conf
    url = str(conf.broker_write_url or "")
    if url.startswith("celeriac:"):
        from .embedded import EmbeddedLedger

        store = embedded_store(conf)
        if store is not None:
            return EmbeddedLedger(store, url)
    elif found := records_url(app):
        from .recorded import RecordedLedger

        return RecordedLedger(found)
    raise ConfigError(NO_PLACE)
