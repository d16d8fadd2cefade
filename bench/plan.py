"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass

#: The queue of ``--million``.
MILLION = 1_000_000


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    :param tasks: sent one by one, and drained
    :param many: drained where they can be sent in bulk, so that fast drains take seconds, too
    :param queued: the long queue, whose start and end are compared
    :param later: tasks with an ``eta`` that wait beside others
    :param calls: round trips
    :param idle: seconds over which the CPU time of an idle worker is taken
    :param settle: seconds the worker is left alone before that
    """

    tasks: int = 5_000
    many: int = 30_000
    queued: int = 100_000
    later: int = 100_000
    calls: int = 2_000
    repetitions: int = 3
    idle: float = 8.0
    settle: float = 3.0


QUICK = Plan(
    tasks=1_000,
    many=5_000,
    queued=20_000,
    later=5_000,
    calls=200,
    repetitions=1,
    idle=5.0,
    settle=2.0,
)
