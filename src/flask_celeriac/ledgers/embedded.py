"""Keys, slots and rates in the embedded broker's file."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..broker import conditions, limit_queries
from ..database import engine_for
from . import FORGET, OLD, Reservation, Slots

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..broker.store import Store


class EmbeddedLedger:
    """Keys, slots and rates in the embedded broker's file.

    .. versionadded:: 0.1
    """

    follows_early_acks = False

    def __init__(self, store: Store, url: str) -> None:
        engine_for(url)  # which makes the tables
        self.store = store
        self._file = store.file

    def holder(self, asked: Reservation) -> str | None:
        with self._file.connection() as db:
            return limit_queries.holder(
                db, asked.key, time.time(), waiting=asked.waiting, lasting=asked.lasting
            )

    def reserve(self, asked: Reservation) -> str | None:
        with self._file.transaction() as db:
            return _condition(asked).check(db)

    def is_pending(self, asked: Reservation, holder: str) -> bool:
        with self._file.connection() as db:
            return limit_queries.is_pending(db, asked.key, holder)

    def reserving(self, asked: Reservation) -> AbstractContextManager[None]:
        return conditions.required(_condition(asked))

    def release(self, asked: Reservation) -> None:
        """Nothing to do: what has no message has no key."""

    def take_slot(self, key: str, at_once: int, request: Any, ticket: int) -> Slots:
        run = limit_queries.Run(request.id, request.properties["delivery_tag"])
        with self._file.transaction() as db:
            found = limit_queries.take_slot(db, key, at_once, run, time.time(), ticket=ticket)
        return Slots(*found, run.tag)

    def give_slot_back(self, key: str, number: int, tag: str) -> None:
        with self._file.transaction() as db:
            called = limit_queries.give_slot_back(db, key, number, tag)
        if called:
            self.store.ring()

    def slots_taken(self, key: str) -> int:
        with self._file.connection() as db:
            return limit_queries.slots_taken(db, key)

    def in_line(self, task_id: str) -> str | None:
        with self._file.connection() as db:
            return limit_queries.in_line(db, task_id)

    def advance(self, key: str, interval: float) -> float:
        with self._file.transaction() as db:
            return limit_queries.advance(db, key, time.time(), interval)

    def put_off(self, tag: str, due: float, headers: dict[str, Any]) -> bool:
        """Have a claimed message wait in its place; whether the claim was still held."""
        return self.store.put_off(tag, due, headers)

    def forget(self) -> int:
        now = time.time()
        with self._file.transaction() as db:
            gone = limit_queries.forget_keys(db, now, FORGET) + limit_queries.forget_rates(
                db, now, FORGET
            )
            return gone + limit_queries.forget_slots(db, now - OLD, FORGET)


def _condition(asked: Reservation) -> limit_queries.Condition:
    return limit_queries.Condition(**asdict(asked), now=time.time())
