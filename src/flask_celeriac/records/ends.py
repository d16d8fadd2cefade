"""The ends of tasks on the embedded file, written alone or with their acknowledgements.

Of nearly every task there is no more to say than that it succeeded, and what came of it. The
message knows most of such a record; the rest is bound to one statement for all the tasks that end
in a transaction.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import states

from . import description, write_queries
from .write_queries import Success

if TYPE_CHECKING:
    import apsw

    from .backend import Backend
    from .fence import Claim, Fence


class Ended(NamedTuple):
    """A success that is to be written.

    :param awaited: whether anybody may wait for its result
    :param reply_to: where its sender may do so
    """

    task_id: str
    row: Success
    awaited: bool
    reply_to: str | None


class State(NamedTuple):
    """A state of a task that is to be written.

    :param values: the columns of its record
    :param reply_to: where its sender may wait
    """

    values: dict[str, Any]
    claim: Claim
    reply_to: str | None


class Successes:
    """Writes plain successes, of a backend on the embedded file.

    .. versionadded:: 0.1
    """

    def __init__(self, backend: Backend, fence: Fence) -> None:
        self._backend = backend
        self._fence = fence

    def of(self, task_id: str, result: Any, request: Any, *, wanted: bool) -> Ended | None:
        """What is to be written of a success, None if there is more to it.

        :param wanted: whether the result is stored
        """
        if request is None or request.is_eager:
            return None
        said = request.__dict__
        if said.get("id") != task_id or said.get("root_id", task_id) != task_id:
            return None
        if request.parent_id or request.group or request.chord or request.eta or request.retries:
            return None
        if request.children or said.get(description.PROGRESS) or said.get(description.RUN):
            return None
        headers = request.headers
        if headers and not description.OURS.isdisjoint(headers):
            return None
        claim = self._fence.claim_of(request)
        if claim is None:
            return None
        status, packed, kept = None, None, self._backend.records_all
        if wanted:
            status = states.SUCCESS
            packed = self._backend.pack(self._backend.encode_result(result, status))
        row = Success(
            *claim,
            task_id,
            status,
            packed,
            request.hostname if kept else None,
            said.get(description.STARTED) if kept else None,
            time.time(),
            self._backend.longest_arguments,
        )
        return Ended(task_id, row, wanted, said.get("reply_to"))

    def write(self, db: apsw.Connection, ended: Sequence[Ended]) -> None:
        """Write these, each if its claim is held."""
        if not write_queries.write_successes(db, [one.row for one in ended]):
            for one in ended:
                self._fence.holds(db, one.row[:2], one.task_id)  # says so where it is not

    def written(self, ended: Sequence[Ended]) -> None:
        """Wake whoever waits for these."""
        awaited = [one for one in ended if one.awaited]
        if awaited:
            self._backend.ring(*[name for one in awaited for name in (one.reply_to, one.task_id)])


class Ends:
    """Writes whatever else there is to say of a task, of a backend on the embedded file.

    .. versionadded:: 0.1
    """

    def __init__(self, backend: Backend, fence: Fence) -> None:
        self._backend = backend
        self._fence = fence

    def store(self, db: apsw.Connection, values: dict[str, Any], claim: Claim | None) -> None:
        """Write a state of a task, if the claim is held that it needs."""
        longest = self._backend.longest_arguments
        if not write_queries.write_embedded(db, values, claim, longest) and claim is not None:
            self._fence.holds(db, claim, values["task_id"])  # says so where it is not

    def write(self, db: apsw.Connection, ended: Sequence[State]) -> None:
        """Write these, each if its claim is held."""
        for one in ended:
            self.store(db, one.values, one.claim)

    def written(self, ended: Sequence[State]) -> None:
        """Wake whoever waits for these."""
        names = ((one.reply_to, one.values["task_id"]) for one in ended)
        self._backend.ring(*[name for both in names for name in both])
