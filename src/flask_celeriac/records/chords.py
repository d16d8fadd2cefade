"""Chords without polling: the member that ends last sends the body.

That a member has ended is written in one transaction with its result. Whoever finds that it was the
last claims the body, sends it, and notes that it was sent; a worker that is killed in between
leaves a claim that runs out, and another one sends it then.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

from celery import chain, chord, group, states
from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from celery.result import GroupResult
from kombu.exceptions import EncodeError, OperationalError

from ..errors import StorageError
from . import queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .backend import Backend

#: Seconds after which somebody else sends the body of a chord, where it was claimed and not sent.
LEASE = 10.0
#: Seconds an unfinished chord is kept since its last sign of life, unless ``result_chord_expires``
#: says so.
PATIENCE = 30 * 86400.0
#: Where a member is in the list that the body gets, if it does not say.
LAST = 2**31 - 1

logger = logging.getLogger(__name__)


class Chords:
    """The chords of a result backend.

    .. versionadded:: 0.1
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def begin(self, group_id: str, results: Any) -> None:
        """Note a chord whose members are about to be sent.

        :param results: the members' results; a generator of them is left alone.
        """
        # Not isinstance: what Celery wraps a generator in is a list, too.
        known = type(results) in (list, tuple)
        nested = known and any(isinstance(result, GroupResult) for result in results)
        members = json.dumps([_ids(result) for result in results]) if nested else None
        with self._backend.engine.begin() as connection:
            queries.begin_chord(connection, group_id, members, time.time())

    def resize(self, group_id: str, *, size: int | None = None, added: int = 0) -> None:
        """Say how many members a chord has, or that it has more of them."""
        with self._backend.engine.begin() as connection:
            queries.resize_chord(connection, group_id, time.time(), size=size, added=added)

    def part(self, request: Any, state: str, result: str | None = None) -> queries.Part | None:
        """What is noted of a task that has ended, None where it belongs to no chord."""
        if state not in states.READY_STATES or not getattr(request, "chord", None):
            return None
        if not request.group or not request.id:
            return None
        position = LAST if request.group_index is None else request.group_index
        return queries.Part(request.group, request.id, position, state, result)

    def note(self, connection: Any, part: queries.Part, body: Any) -> None:
        """Write that a member has ended, in the caller's transaction."""
        now = time.time()
        if queries.add_part(connection, part, now):
            queries.make_chord_due(connection, part.group_id, self._packed(body), now)

    def returned(self, request: Any, state: str, result: Callable[[], str]) -> None:
        """A member has ended; send the body if it was the last.

        :param result: gives the result as it is stored, where that was not done with its record.
        """
        part = self.part(request, state)
        if part is None:
            return
        engine = self._backend.engine
        with engine.connect() as connection:
            noted, due = queries.part_status(connection, part)
        if not noted and not due:
            with engine.begin() as connection:
                self.note(connection, part._replace(result=result()), request.chord)
            with engine.connect() as connection:
                _, due = queries.part_status(connection, part)
        if due:
            self._send(part.group_id, part.task_id, request.chord)

    def sweep(self) -> None:
        """Send the bodies that were left behind by a worker that was killed."""
        with self._backend.engine.connect() as connection:
            left = queries.due_chords(connection, time.time())
        for group_id in left:
            self._send(group_id, f"sweep {uuid.uuid4()}", None)

    def expire(self, connection: Any, sent: float | None, unfinished: float | None) -> None:
        """Delete old chords.

        :param sent: seconds to keep those whose body was sent, None or 0 for ever.
        :param unfinished: seconds to keep others since their last sign of life, likewise.
        """
        now = time.time()
        queries.expire_chords(
            connection,
            now - sent if sent else 0.0,
            now - unfinished if unfinished else 0.0,
        )

    def _send(self, group_id: str, owner: str, body: Any) -> None:
        engine, now = self._backend.engine, time.time()
        with engine.begin() as connection:
            due = queries.claim_chord(connection, group_id, owner, now, now + LEASE)
        if due is None:
            return
        if body is None and due.body is not None:
            body = self._backend.unpack(due.body)
        if body is None:
            return  # it was too strange to be stored; only a member that runs again has it
        body = maybe_signature(body, app=self._backend.app)
        if due.claims == 1 or not self._was_sent(body):
            try:
                self._start(group_id, body, due)
            except (OperationalError, StorageError) as error:
                logger.error("The body of chord %s cannot be sent yet: %s", group_id, error)
                with engine.begin() as connection:
                    queries.release_chord(connection, group_id)
                return
        with engine.begin() as connection:
            queries.finish_chord(connection, group_id, time.time())

    def _start(self, group_id: str, body: Any, due: queries.Due) -> None:
        """Send the body; one that cannot be started has failed."""
        try:
            try:
                body.delay(self._results(due))
            except (OperationalError, StorageError, ChordError):
                raise
            except Exception as error:
                raise ChordError(f"Callback error: {error!r}") from error
        except ChordError as error:
            logger.error("Chord %s: %s", group_id, error)
            self._backend.chord_error_from_stack(body, error)

    def _results(self, due: queries.Due) -> list[Any]:
        values: dict[str, Any] = {}
        in_order = []
        for part in due.parts:
            value = self._backend.unpack(part.result)
            if part.state in states.PROPAGATE_STATES:
                error = self._backend.exception_to_python(value)
                raise ChordError(f"Dependency {part.task_id} raised {error!r}") from error
            values[part.task_id] = value
            in_order.append(value)
        if due.members is not None:
            try:
                return [_nested(member, values) for member in json.loads(due.members)]
            except KeyError:  # a member was replaced by more than one: in a list, then
                pass
        return in_order

    def _was_sent(self, body: Any) -> bool:
        """Whether who claimed the body before has sent it, before it was killed."""
        return all(map(self._backend.has_message_or_record, _first_ids(body)))

    def _packed(self, body: Any) -> str | None:
        try:
            return self._backend.pack(body)
        except (EncodeError, TypeError, ValueError):
            return None


def _first_ids(signature: Any) -> Iterator[str]:
    """The ids of the tasks that a signature sends at once."""
    if isinstance(signature, chain):
        yield from _first_ids(signature.tasks[0])
    elif isinstance(signature, (group, chord)):
        for task in signature.tasks:
            yield from _first_ids(task)
    else:
        yield signature.id or ""


def _ids(result: Any) -> Any:
    """The ids of a result's members, nested as they are."""
    if isinstance(result, GroupResult):
        return [_ids(member) for member in result.results or ()]
    return result.id


def _nested(member: Any, values: dict[str, Any]) -> Any:
    if isinstance(member, list):
        return [_nested(inner, values) for inner in member]
    return values[member]
