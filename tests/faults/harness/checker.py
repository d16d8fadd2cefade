"""What became of a workload, in the words of Jepsen's ``total-queue``."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.system.ledger import Story, parse


@dataclass
class Account(Story):
    """A ledger with the attempts in it."""

    attempted: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, path: Path) -> Account:
        account = cls()
        for line in path.read_text(encoding="ascii").splitlines():
            parsed = parse(line)
            if parsed.kind == "attempt":
                account.attempted.add(parsed.number)
            account.add(parsed)
        return account

    def without(self, apart: Collection[int]) -> Account:
        """It, but for some tasks."""
        return Account(
            acked=self.acked - set(apart),
            starts={number: lines for number, lines in self.starts.items() if number not in apart},
            ends={number: lines for number, lines in self.ends.items() if number not in apart},
            attempted=self.attempted - set(apart),
        )


@dataclass
class Cell:
    """One recipe on one system.

    :param lost: acknowledged to the caller, never ended, and the broker has no message of it.
    :param waiting: the same, but the broker still has the message and would give it to a worker
        later than anybody waited for.
    :param unexpected: ran without having been attempted, or although it was taken back.
    :param duplicated: runs beyond the first of each task.
    :param recovered: of unknown outcome to the caller, but completed.
    :param twice: tasks whose record was given two different ends; None where nobody can tell.
    :param injections: faults that hit something.
    :param allowed: duplicated runs that the faults explain.
    :param recoveries: seconds from a fault to the next start of a task that it hit.
    """

    recipe: str
    system: str
    ours: bool
    seed: int
    attempted: int = 0
    acknowledged: int = 0
    lost: set[int] = field(default_factory=set)
    waiting: set[int] = field(default_factory=set)
    unexpected: set[int] = field(default_factory=set)
    duplicated: int = 0
    recovered: int = 0
    twice: dict[str, list[tuple[str, str]]] | None = None
    injections: int = 0
    allowed: int = 0
    recoveries: list[float] = field(default_factory=list)
    seconds: float = 0.0
    #: What else was to hold and did not.
    wrong: list[str] = field(default_factory=list)
    #: What else was seen.
    notes: list[str] = field(default_factory=list)
    #: What its processes wrote, where it failed.
    logs: str = ""
    #: Why there are no figures.
    not_tested: str | None = None
    #: Whether Celery has to lose here, or the harness is broken.
    must_lose: bool = False
    #: Whether it is one function that says what is wrong, and no ledger.
    plain: bool = False

    def count(self, account: Account, held: set[int], revoked: Iterable[int] = ()) -> None:
        """Fill in what a ledger says.

        :param held: what the broker still has.
        :param revoked: what was taken back before it ran, so that it must not run.
        """
        ran, ended = account.starts.keys() | account.ends.keys(), account.ends.keys()
        missing = account.acked - ended - set(revoked)
        self.attempted = len(account.attempted | account.acked)
        self.acknowledged = len(account.acked)
        self.waiting = missing & held
        self.lost = missing - held
        self.unexpected = (ran - account.attempted - account.acked) | (ran & set(revoked))
        self.duplicated = account.duplicates
        self.recovered = len((ended & account.attempted) - account.acked)

    def complaints(self) -> list[str]:
        """Why it has not passed."""
        if self.not_tested:
            return []
        if self.plain:
            return self.wrong
        if not self.injections:
            return ["no fault hit anything"] if self.ours else []
        if not self.ours:
            survived = self.must_lose and not (self.lost or self.waiting or self.unexpected)
            return ["Celery has to lose here: the harness is broken"] if survived else []
        found = {
            f"lost {sorted(self.lost)[:20]}": self.lost,
            f"still waiting {sorted(self.waiting)[:20]}": self.waiting,
            f"unexpected {sorted(self.unexpected)[:20]}": self.unexpected,
            f"{self.duplicated} run again, {self.allowed} explained": self.duplicated
            > self.allowed,
            f"completed twice {dict(list((self.twice or {}).items())[:3])}": self.twice,
        }
        return [text for text, is_wrong in found.items() if is_wrong] + self.wrong

    @property
    def verdict(self) -> str:
        if self.not_tested:
            return "not tested"
        if not self.injections and not self.plain:
            return "not tested: no fault hit"
        if self.ours:
            return "failed" if self.complaints() else "passed"
        return "loses" if self.lost or self.waiting or self.unexpected else "survives"

    def recovery(self, share: float) -> float | None:
        """The seconds within which a share of the tasks that were hit started again."""
        if not self.recoveries:
            return None
        ordered = sorted(self.recoveries)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def report(self) -> str:
        if self.not_tested:
            return f"not tested: {self.not_tested}"
        if self.plain:
            return f"{self.verdict}: {self.injections} injections, {self.seconds:.0f} s"
        twice = "-" if self.twice is None else len(self.twice)
        spread = "recovery: none to measure"
        if self.recoveries:
            spread = (
                f"recovery p50 {statistics.median(self.recoveries):.2f} s,"
                f" p99 {self.recovery(0.99):.2f} s, max {max(self.recoveries):.2f} s"
            )
        return (
            f"{self.verdict}: attempted {self.attempted}, acknowledged {self.acknowledged},"
            f" lost {len(self.lost)}, waiting {len(self.waiting)},"
            f" unexpected {len(self.unexpected)}, duplicated {self.duplicated},"
            f" completed twice {twice}, recovered {self.recovered},"
            f" {self.injections} injections, {spread}, {self.seconds:.0f} s"
            + "".join(f"; {note}" for note in self.notes)
        )
