"""A broker file as this process uses it: opened, upgraded, with its bells beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import sqlite
from ..doorbell import Ringer
from ..errors import StorageError
from . import limit_queries, queries, schema
from .conditions import NotPutError

if TYPE_CHECKING:
    import apsw

    from .limit_queries import Condition


class Store:
    """The embedded broker's file and the directory of sockets and locks beside it.

    :param path: absolute path of the file.
    :param durability: ``"normal"`` or ``"full"``; with ``"full"`` every put is fsynced.

    .. versionadded:: 0.1
    """

    def __init__(self, path: str, durability: str) -> None:
        self.file = sqlite.file_at(path)
        self.path = self.file.path
        self.put_mode = "FULL" if durability == "full" else "NORMAL"
        self.bells = self.file.beside("bells")
        self.locks = self.file.beside("locks")
        self.ringer = Ringer(self.bells)

    def open(self) -> None:
        """Make the file, or bring it to this version of the schema.

        :raises StorageError: when it cannot be opened, or was written by a newer version.
        """
        with self.file.connection() as db:
            found = schema.version(db)
        if found == schema.VERSION:
            return
        with self.file.transaction() as db:
            self._upgrade(db)

    def _upgrade(self, db: apsw.Connection) -> None:
        found = schema.version(db)  # another process may have been first
        if found == 0:
            schema.create(db)
        elif found > schema.VERSION:
            raise StorageError(
                f"{self.path} was written by a newer Flask-Celeriac (schema {found}, this one knows"
                f" {schema.VERSION}): upgrade flask-celeriac here too"
            )
        elif found < schema.VERSION:
            schema.upgrade(db, found)

    def put(self, row: queries.Row) -> None:
        """Add a message, and wake the consumers.

        :raises StorageError: it is not in the queue.
        """
        self.file.check_room()
        with self.file.connection(self.put_mode) as db:
            queries.put(db, row)
        self.ring()

    def put_if(self, row: queries.Row, condition: Condition) -> None:
        """Add a message if a condition is met, in one transaction, and wake the consumers.

        :raises NotPutError: it is not met.
        :raises StorageError: it is not in the queue.
        """
        self.file.check_room()
        with self.file.transaction(self.put_mode) as db:
            holder = condition.check(db)
            if holder is not None:
                raise NotPutError(holder)
            queries.put(db, row)
        self.ring()

    def put_many(self, rows: Sequence[queries.Row]) -> None:
        """Add messages in one transaction, and wake the consumers.

        :raises StorageError: none of them is in the queue.
        """
        self.file.check_room()
        with self.file.transaction(self.put_mode) as db:
            queries.put_many(db, rows)
        self.ring()

    def put_off(self, tag: str, due: float, headers: dict[str, Any]) -> bool:
        """Have a claimed message wait in its place until a moment, as if it had not been claimed.

        :param tag: of its delivery
        :param headers: what is added to those it has; None takes one away
        :return: whether the claim was still held
        """
        with self.file.transaction() as db:
            held = limit_queries.put_off(db, *queries.claim_of(tag), due, headers)
        self.ring()
        return held

    def ring(self) -> None:
        """Wake every consumer: there is a message, or a time to wait for."""
        self.ringer.ring_all()


_stores: dict[tuple[str, str], Store] = {}


def store_at(path: str, durability: str = "normal") -> Store:
    """The :class:`Store` of this process for a path; :meth:`Store.open` it."""
    key = (os.path.realpath(path), durability)
    try:
        return _stores[key]
    except KeyError:
        return _stores.setdefault(key, Store(*key))
