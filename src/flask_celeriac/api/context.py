"""What a view works with: the application's Celery, and what the application decides."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flask

from .. import brief, operations
from ..database import OUT_OF_REACH
from ..errors import CeleriacError, RecordsDisabledError, UnknownTaskError
from ..operations.sources import sources_of
from ..urls import records_url
from . import queries
from .access import Access

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

    from ..celery_app import FlaskCelery
    from ..records.task_record import TaskRecord

logger = logging.getLogger(__name__)

#: The label of a task that somebody started through the API, followed by who it was.
STARTED_BY = "actor:"
_LONGEST_ACTOR = 150


@dataclass(frozen=True)
class Hooks:
    """What the application decides, in each request.

    :param access: what whoever asks may do
    :param owns: whether a task is theirs; None where all are
    :param limit: seconds they have to wait before they may use a verb; None where they may
    :param actor: who they are, in up to 150 characters
    :param streams: how many streams of events there may be in one process; each of them holds a
        thread of the web server
    """

    access: Callable[[], Access]
    owns: Callable[[TaskRecord], bool] | None = None
    limit: Callable[[str], float | None] | None = None
    actor: Callable[[], str | None] | None = None
    streams: int = 100


@dataclass(frozen=True)
class Api:
    """One blueprint's side of things.

    :param find_app: the Celery of the current Flask application
    """

    find_app: Callable[[], FlaskCelery]
    hooks: Hooks

    @property
    def celery(self) -> FlaskCelery:
        """The application whose tasks are meant."""
        return self.find_app()

    @property
    def engine(self) -> Engine:
        """The database of the records.

        :raises RecordsDisabledError: there is none
        """
        return sources_of(self.celery).engine

    @property
    def actor(self) -> str | None:
        """Who asks, if the application says so."""
        name = self.hooks.actor() if self.hooks.actor is not None else None
        return None if name is None else str(name)[:_LONGEST_ACTOR]

    def task(self, task_id: str) -> TaskRecord:
        """A task of whoever asks.

        :raises UnknownTaskError: there is none, or it is somebody else's
        """
        try:
            task = operations.find(self.celery, task_id)
        except UnknownTaskError:
            task = None
        # The same words for both, so that nobody learns which tasks others have.
        if task is None or not self.is_theirs(task):
            raise UnknownTaskError
        return task

    def after_change(self, look: Callable[[], TaskRecord], known: TaskRecord) -> TaskRecord:
        """A task as it is after a change that was made, or what is known of it without a look.

        Who is told that it failed makes the change again, which sends a task twice.
        """
        try:
            return look()
        except Exception as error:  # whatever it is, the change was made
            unforeseen = not isinstance(error, (CeleriacError, *OUT_OF_REACH))
            logger.warning(
                "Task %s was sent or changed, and cannot be looked at just now: %s",
                known.id,
                error,
                exc_info=unforeseen,
            )
            return known

    def is_theirs(self, task: TaskRecord) -> bool:
        """Whether a task is of whoever asks."""
        return self.hooks.owns is None or bool(self.hooks.owns(task))

    def theirs(self, tasks: Sequence[TaskRecord]) -> list[TaskRecord]:
        """Those that are of whoever asks."""
        return [task for task in tasks if self.is_theirs(task)]

    def audit(self, verb: str, target: str, **details: Any) -> None:
        """Note a change that was made. One that cannot be noted there is at least in the log."""
        self.audit_many(verb, {target: details})

    def audit_many(self, verb: str, changes: Mapping[str, dict[str, Any]]) -> None:
        """Note many changes.

        :param changes: details by targets
        """
        if changes:
            self._note(verb, changes, self._write)

    def audit_sent(self, verb: str, target: str, **details: Any) -> bool:
        """Note that a task was sent, soon or not at all, as its client waits for the answer.

        :return: False where the database cannot be used just now
        """
        return self._note(verb, {target: details}, self._write_soon)

    def _write_soon(self, work: Callable[[Connection], None]) -> None:
        url = records_url(self.celery)
        if url is None:
            raise RecordsDisabledError
        brief.run(url, work)

    def _write(self, work: Callable[[Connection], None]) -> None:
        with self.engine.begin() as connection:
            work(connection)

    def _note(
        self,
        verb: str,
        changes: Mapping[str, dict[str, Any]],
        write: Callable[[Callable[[Connection], None]], object],
    ) -> bool:
        now = time.time()
        rows: list[dict[str, Any]] = [
            {
                "at": now,
                "verb": verb,
                "target": target,
                "details": json.dumps(details, default=str) if details else None,
            }
            for target, details in changes.items()
        ]
        try:
            actor = self.actor  # asks the application, which may be at the same database
            known = [{**row, "actor": actor} for row in rows]
            write(lambda connection: queries.add_audit(connection, known))
        except Exception:
            logger.exception("Not in the audit table: %s", rows)
            return False
        return True


def current_path(endpoint: str, **values: Any) -> str:
    """The path of another route of the blueprint that answers this request."""
    return flask.url_for(f".{endpoint}", **values)
