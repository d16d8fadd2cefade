"""The requests of a task that runs: of whom ``task.request`` is the innermost."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery.app.task import Context

    #: A request, of which stack it is, and what was pushed before.
    Pushed = tuple["RequestStack", "Context", "Pushed | None"]

#: What was pushed last. One variable for all tasks: contexts hold on to theirs for good.
_last: ContextVar[Pushed | None] = ContextVar("celeriac_requests", default=None)


class RequestStack:
    """Takes the place of Celery's ``LocalStack``, at a sixth of the time.

    That looks up the running greenlet in a dictionary at each step, and a context variable belongs
    to the greenlet or thread by itself. Celery's own switch for that, ``USE_FAST_LOCALS``, leaves
    the tasks of a pool of threads without a request: the tracer keeps the methods of the thread
    that made it.

    .. versionadded:: 0.1
    """

    __slots__ = ()

    def push(self, request: Context) -> None:
        """Begin with a request."""
        _last.set((self, request, _last.get()))

    def pop(self) -> Context | None:
        """End the innermost request, and return it; None if there is none."""
        last = _last.get()
        above: list[Pushed] = []
        while last is not None and last[0] is not self:
            above.append(last)
            last = last[2]
        if last is None:
            return None
        rest = last[2]
        for stack, request, _ in reversed(above):  # none, unless somebody left theirs behind
            rest = (stack, request, rest)
        _last.set(rest)
        return last[1]

    @property
    def top(self) -> Context | None:
        """The innermost request, None if there is none."""
        last = _last.get()
        while last is not None:
            if last[0] is self:
                return last[1]
            last = last[2]
        return None

    @property
    def stack(self) -> list[Context]:
        """All of them, the innermost last."""
        found: list[Any] = []
        last = _last.get()
        while last is not None:
            if last[0] is self:
                found.append(last[1])
            last = last[2]
        return found[::-1]

    def __len__(self) -> int:
        return len(self.stack)
