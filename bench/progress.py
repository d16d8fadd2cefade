"""How a drain went on: what was run, and how large the workers were, from moment to moment."""

from __future__ import annotations

from dataclasses import dataclass, field

from .processes import CannotRunError

#: The share of the tasks that is its start, and its end.
PART = 0.2


@dataclass(frozen=True)
class Point:
    """A moment of a drain.

    :param seconds: on any clock
    :param count: tasks run until then
    :param memory: bytes resident in the workers
    """

    seconds: float
    count: int
    memory: int


@dataclass
class Progress:
    """The moments of a drain."""

    points: list[Point] = field(default_factory=list)

    def evenness(self) -> float:
        """The rate over the last part of the tasks as a multiple of the one over the first.

        :raises CannotRunError: it was over too soon
        """
        return self._rate(1 - PART, 1) / self._rate(0, PART)

    def memory(self) -> tuple[int, int]:
        """Bytes resident after the first part, when all is warm, and at the end."""
        return self._at(PART).memory, self.points[-1].memory

    def _rate(self, begin: float, end: float) -> float:
        first, last = self._at(begin), self._at(end)
        if last.seconds <= first.seconds:
            raise CannotRunError("the drain was too short to compare its start and its end")
        return (last.count - first.count) / (last.seconds - first.seconds)

    def _at(self, share: float) -> Point:
        """The first moment at which a share of the tasks, and at least one, had been run."""
        count = max(1, int(self.points[-1].count * share))
        return next(point for point in self.points if point.count >= count)
