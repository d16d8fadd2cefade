"""The scenarios: what is sent to which workers, and which systems take part."""

from __future__ import annotations

from dataclasses import dataclass

from .fleet import ONE_SOLO, PREFORK, TWO_SOLO, Fleet
from .plan import Plan
from .systems import (
    EMBEDDED,
    EMBEDDED_FULL,
    EMBEDDED_RESULTS,
    REDIS,
    REDIS_FSYNCED,
    SQLA,
    System,
)


@dataclass(frozen=True)
class Scenario:
    """One thing that every system taking part does, beginning with an empty queue.

    :param fleet: the workers, None where only sending is measured
    :param task: the task's name in the applications
    :param in_bulk: whether those that can, send with ``delay_many``
    :param is_long: whether the queue is the long one of the plan
    :param beside_later: whether tasks with an ``eta`` far away wait in the queue
    :param then_rests: whether idleness and round trips are measured when the queue is empty
    """

    name: str
    systems: tuple[System, ...]
    fleet: Fleet | None
    task: str = "add"
    in_bulk: bool = False
    is_long: bool = False
    beside_later: bool = False
    then_rests: bool = False

    def sends_many(self, system: System) -> bool:
        """Whether a system sends with ``delay_many`` here."""
        return self.in_bulk and system.has_delay_many

    def count(self, system: System, plan: Plan) -> int:
        """How many tasks a system is sent."""
        if self.is_long:
            return plan.queued
        if self.sends_many(system):
            return plan.many
        return max(100, int(plan.tasks * system.share))


FIRST = Scenario("prefork", (EMBEDDED, EMBEDDED_RESULTS, REDIS, SQLA), PREFORK, then_rests=True)
FSYNCED = Scenario("fsynced", (EMBEDDED_FULL, REDIS_FSYNCED), None)
SOLO = Scenario("solo", (EMBEDDED, EMBEDDED_RESULTS, REDIS), TWO_SOLO, in_bulk=True)
RESTING = Scenario("one solo", (EMBEDDED, REDIS), ONE_SOLO, then_rests=True)
#: One right after the other, as a machine's speed changes within minutes.
WITHOUT_LATER = Scenario("without eta", (EMBEDDED,), TWO_SOLO, in_bulk=True)
BESIDE_LATER = Scenario("beside eta", (EMBEDDED,), TWO_SOLO, in_bulk=True, beside_later=True)
PREFORK_IGNORED = Scenario("prefork, ignored", (REDIS,), PREFORK, "add_unrecorded")
SOLO_IGNORED = Scenario(
    "solo, ignored",
    (EMBEDDED, EMBEDDED_RESULTS, REDIS),
    TWO_SOLO,
    "add_unrecorded",
    in_bulk=True,
)
LONG = Scenario("long queue", (EMBEDDED,), TWO_SOLO, in_bulk=True, is_long=True)

ALL = (
    FIRST,
    FSYNCED,
    SOLO,
    RESTING,
    WITHOUT_LATER,
    BESIDE_LATER,
    PREFORK_IGNORED,
    SOLO_IGNORED,
    LONG,
)
