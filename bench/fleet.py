"""The workers that drain a queue together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fleet:
    """Workers of one kind.

    :param workers: how many are started
    :param pool: the options of each, for its pool
    """

    name: str
    workers: int
    pool: tuple[str, ...]

    def options(self) -> list[tuple[str, ...]]:
        """The command line options of each worker.

        The log level is said on every side: `flask celery worker` logs more than `celery worker`
        does by default.
        """
        return [
            ("-n", f"bench{number}@localhost", *self.pool, "-l", "WARNING")
            for number in range(self.workers)
        ]


PREFORK = Fleet("prefork -c 2", 1, ("-P", "prefork", "-c", "2"))
TWO_SOLO = Fleet("two solo workers", 2, ("-P", "solo"))
ONE_SOLO = Fleet("one solo worker", 1, ("-P", "solo"))
