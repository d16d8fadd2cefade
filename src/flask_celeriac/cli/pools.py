"""Which worker pool can run where, and what to say where it cannot."""

from __future__ import annotations

import os

FORKING = ("prefork", "processes")
GREEN = ("gevent", "eventlet")


class PoolRefused(ValueError):
    """This pool cannot run here; the message says what can."""


def can_fork() -> bool:
    """Whether this system has processes that fork, which Celery's prefork pool needs."""
    return hasattr(os, "fork")


def check_pool(asked: str | None, configured: str, *, fork: bool) -> None:
    """Refuse a pool that cannot work.

    :param asked: the pool of ``-P``, or ``None``.
    :param configured: the setting ``worker_pool``.
    :param fork: whether this system can fork.
    :raises PoolRefused: with the remedy.
    """
    pool = asked or configured
    if pool in GREEN:
        raise PoolRefused(
            f"the {pool} pool has to patch the standard library before Flask is imported, and"
            f" flask has been imported already. Start it with Celery's own command:"
            f" celery -A module.celery worker -P {pool} (where module.celery is"
            ' app.extensions["celery"]).'
        )
    if asked in FORKING and not fork:
        raise PoolRefused(
            f"the {asked} pool forks, and this system cannot. Use -P threads (with"
            " -c for how many tasks at once) or -P solo (one at a time)."
        )


def default_pool(configured: str, concurrency: int | str | None, *, fork: bool) -> str:
    """The pool of a worker that was started without ``-P``.

    :param configured: the setting ``worker_pool`` (Celery's default is ``prefork``).
    :param concurrency: the number of ``-c`` or ``worker_concurrency``, ``"auto"`` or ``None``.
    :param fork: whether this system can fork.
    """
    if fork or configured not in FORKING:
        return configured
    one_at_a_time = not concurrency or concurrency == 1
    return "solo" if one_at_a_time else "threads"
