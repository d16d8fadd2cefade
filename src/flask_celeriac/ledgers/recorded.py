"""Keys, slots and rates in the database with the records."""

from __future__ import annotations

import time
import uuid
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .. import recorder
from ..database import OUT_OF_REACH, engine_for
from ..errors import RecordsUnavailableError
from ..limits import MARK
from ..records import limit_queries
from . import FORGET, OLD, Reservation, Slots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


class RecordedLedger:
    """Keys, slots and rates in the database with the records.

    .. versionadded:: 0.1
    """

    follows_early_acks = True

    def __init__(self, url: str) -> None:
        self._url = url
        #: What runs of this worker and no other's begin their mark with.
        self.worker = uuid.uuid4().hex

    @contextmanager
    def _begin(self) -> Iterator[Any]:
        try:
            with engine_for(self._url).begin() as connection:
                yield connection
        except OUT_OF_REACH as error:
            raise RecordsUnavailableError(
                "The database in which unique tasks and limits are counted cannot be reached:"
                f" {error}"
            ) from error

    def holder(self, asked: Reservation) -> str | None:
        with self._begin() as connection:
            return limit_queries.holder(
                connection, asked.key, time.time(), waiting=asked.waiting, lasting=asked.lasting
            )

    def reserve(self, asked: Reservation) -> str | None:
        with self._begin() as connection:
            return _reserve(connection, asked)

    def is_pending(self, asked: Reservation, holder: str) -> bool:
        with self._begin() as connection:
            return limit_queries.is_pending(connection, asked.key, holder)

    def reserving(self, asked: Reservation) -> AbstractContextManager[None]:
        return recorder.required(asked.task_id, lambda connection: _reserve(connection, asked))

    def release(self, asked: Reservation) -> None:
        with self._begin() as connection:
            limit_queries.release(connection, asked.key, asked.task_id)

    def take_slot(self, key: str, at_once: int, request: Any, ticket: int) -> Slots:
        mark = (request.headers or {}).get(MARK) or ""
        tag = f"{self.worker}:{uuid.uuid4().hex[:14]}:{mark}"[:64]
        run = limit_queries.Run(request.id, tag)
        with self._begin() as connection:
            found = limit_queries.take_slot(
                connection, key, at_once, run, time.time(), ticket=ticket
            )
        return Slots(*found, run.tag)

    def give_slot_back(self, key: str, number: int, tag: str) -> None:
        with self._begin() as connection:
            limit_queries.give_slot_back(connection, key, number, tag)

    def slots_taken(self, key: str) -> int:
        with self._begin() as connection:
            return limit_queries.slots_taken(connection, key, time.time())

    def in_line(self, task_id: str) -> str | None:
        with self._begin() as connection:
            return limit_queries.in_line(connection, task_id)

    def advance(self, key: str, interval: float) -> float:
        with self._begin() as connection:
            return limit_queries.advance(connection, key, time.time(), interval)

    def say_alive(self) -> None:
        """Note that the worker is alive that these slots are taken by."""
        with self._begin() as connection:
            limit_queries.say_alive(connection, self.worker, time.time())

    def forget(self) -> int:
        now = time.time()
        with self._begin() as connection:
            gone = limit_queries.forget_keys(connection, now, FORGET)
            gone += limit_queries.forget_rates(connection, now, FORGET)
            return gone + limit_queries.forget_slots(connection, now - OLD, FORGET)


def _reserve(connection: Any, asked: Reservation) -> str | None:
    return limit_queries.reserve(connection, **asdict(asked), now=time.time())
