"""What befalls the embedded file while something is at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.signals import before_task_publish

from flask_celeriac.sqlite_opening import connect


@contextmanager
def locked_after(path: str, number: int) -> Iterator[list[str]]:
    """Have another writer hold a file from when some tasks were sent, until the block ends.

    :param number: how many tasks get through
    :return: their ids
    """
    sent: list[str] = []
    other = connect(path)

    def look(headers: Any, **_: Any) -> None:
        if len(sent) < number:
            sent.append(headers["id"])
        elif not other.in_transaction:
            other.execute("BEGIN IMMEDIATE")

    before_task_publish.connect(look)
    try:
        yield sent
    finally:
        before_task_publish.disconnect(look)
        other.close(force=True)
