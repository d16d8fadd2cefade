"""The SQL of the API's own tables. No function commits."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from ..tables import audit, idempotency

#: What :func:`add_key` raises where the key is there already.
KeyIsThere = IntegrityError


def add_audit(connection: Connection, changes: list[dict[str, Any]]) -> None:
    """Note changes.

    :param changes: by the names of the columns; ``details`` as JSON.
    """
    connection.execute(insert(audit), changes)


def find_key(connection: Connection, scope: str, key: str) -> Row[Any] | None:
    """What an ``Idempotency-Key`` was used for."""
    return connection.execute(select(*idempotency.c).where(_is(scope, key))).first()


def add_key(
    connection: Connection, scope: str, key: str, *, fingerprint: str, task_id: str, now: float
) -> None:
    """Note what a key is used for.

    :raises KeyIsThere: it was used before.
    """
    row = {"scope": scope, "key": key, "fingerprint": fingerprint, "task_id": task_id}
    connection.execute(insert(idempotency).values(**row, created=now))


def take_key(
    connection: Connection,
    scope: str,
    key: str,
    since: float,
    *,
    fingerprint: str,
    task_id: str,
    now: float,
) -> bool:
    """Take over a key that another request has had since a moment; False where a third did."""
    mine = and_(_is(scope, key), idempotency.c.created == since)
    ours = {"fingerprint": fingerprint, "task_id": task_id, "created": now}
    return bool(connection.execute(update(idempotency).where(mine).values(ours)).rowcount)


def end_key(
    connection: Connection, scope: str, key: str, claimed_id: str, *, fingerprint: str, task_id: str
) -> None:
    """Note that the task of a key was sent.

    :param claimed_id: the id that it was to have; what has another one by now is left alone.
    :param task_id: the id of the task that is there.
    """
    mine = and_(_is(scope, key), idempotency.c.task_id == claimed_id)
    ended = {"fingerprint": fingerprint, "task_id": task_id}
    connection.execute(update(idempotency).where(mine).values(ended))


def remove_key(connection: Connection, scope: str, key: str) -> None:
    """Forget a key."""
    connection.execute(delete(idempotency).where(_is(scope, key)))


def _is(scope: str, key: str) -> Any:
    return and_(idempotency.c.scope == scope, idempotency.c.key == key)
