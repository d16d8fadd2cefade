"""One task, as people and programs are told of it; and what to choose tasks by."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any

from .. import states

#: The states of a task whose last attempt has begun.
_BEGUN = (states.RUNNING, states.SUCCEEDED, states.FAILED, states.DEAD)


@dataclass(frozen=True)
class TaskRecord:
    """Everything that is known of a task. None where it is not known.

    :param id: the task's id, as ``AsyncResult.id``
    :param state: one of :data:`flask_celeriac.states.STATES`
    :param status: the state in Celery's words, or the task's own, such as ``"PROGRESS"``
    :param attempts: how often it has been begun, with the runs that are known to be cut off
    :param args: positional arguments, secrets masked; None where they are not kept
    :param kwargs: keyword arguments, likewise
    :param result: what a task that succeeded returned
    :param created: when it was sent, in seconds since the epoch, as all times here
    :param eta: not to be begun before; of the attempt that is to come, or else of the last one
    :param started: when the last attempt began
    :param worker: the worker of the last attempt
    :param progress_current: how far it says it is, of ``progress_total``
    :param root_id: the first task of the workflow it belongs to, where that is another
    :param retry_of: the ended task that this one repeats
    :param schedule: the schedule entry that sent it
    :param request_id: the HTTP request that sent it
    """

    id: str
    state: str
    created: float
    status: str | None = None
    name: str | None = None
    queue: str | None = None
    priority: int | None = None
    attempts: int = 0
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    result: Any = None
    error_type: str | None = None
    error_message: str | None = None
    error_fingerprint: str | None = None
    traceback: str | None = None
    eta: float | None = None
    started: float | None = None
    finished: float | None = None
    worker: str | None = None
    progress_current: float | None = None
    progress_total: float | None = None
    progress_message: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    chord_id: str | None = None
    retry_of: str | None = None
    schedule: str | None = None
    labels: tuple[str, ...] = ()
    request_id: str | None = None
    trace_id: str | None = None

    @property
    def ended(self) -> bool:
        """Whether no attempt is to come."""
        return self.state in states.ENDED

    @property
    def wait(self) -> float | None:
        """Seconds it waited for a worker since it could be run, without a wait for its ``eta``."""
        if self.started is None or self._was_to_go_on:
            return None
        return max(0.0, self.started - max(self.created, self.eta or 0.0))

    @property
    def run(self) -> float | None:
        """Seconds its last attempt took."""
        if self.started is None or self.finished is None or self._was_to_go_on:
            return None
        return max(0.0, self.finished - self.started)

    @property
    def _was_to_go_on(self) -> bool:
        """Whether another attempt was to come after the one that began last, and did not begin."""
        if self.state in _BEGUN or self.started is None or self.eta is None:
            return False
        return self.started < self.eta


@dataclass(frozen=True)
class Attempt:
    """An attempt of a task that did not end it.

    :param number: 1 for the first
    :param state: ``"retrying"`` where it failed and was to be repeated, ``"lost"`` where its
        worker died
    """

    number: int
    state: str
    worker: str | None = None
    started: float | None = None
    finished: float | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceback: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Attempt:
        """The attempt whose end is about to be recorded.

        :param values: by the names of the record's columns
        """
        known = ("worker", "started", "error_type", "error_message", "traceback")
        return cls(
            number=values["attempts"],
            state=values["state"],
            finished=values["updated"],
            **{name: values.get(name) for name in known},
        )


@dataclass(frozen=True)
class Filter:
    """Which tasks are meant; what is left out chooses nothing.

    :param states: any of these
    :param error: the fingerprint of its error
    :param label: one of its labels
    :param root: its id, or its workflow's
    :param text: in its arguments as they are shown, its name or its error, upper case or lower
    :param created_after: seconds since the epoch, inclusive
    :param created_before: exclusive
    """

    states: tuple[str, ...] = ()
    name: str | None = None
    queue: str | None = None
    worker: str | None = None
    label: str | None = None
    error: str | None = None
    root: str | None = None
    text: str | None = None
    created_after: float | None = None
    created_before: float | None = None

    @property
    def spellings(self) -> list[str]:
        """How :attr:`text` may stand in a task's arguments, which are kept as they travel."""
        return [] if self.text is None else spellings(self.text)

    def only(self, *wanted: str) -> Filter | None:
        """The same with none but these states, None where none is left."""
        left = tuple(state for state in wanted if not self.states or state in self.states)
        return replace(self, states=left) if left else None


def spellings(text: str) -> list[str]:
    """How a text may stand in a task's arguments, which are kept in JSON as it travels."""
    # Where nothing is escaped, the database itself takes upper case for lower.
    escaped = {each: json.dumps(each)[1:-1] for each in (text, text.lower(), text.upper())}
    return [text, *dict.fromkeys(new for old, new in escaped.items() if new != old)]


def as_json(task: TaskRecord) -> dict[str, Any]:
    """A task as it is told in JSON: times in ISO 8601, error and progress as objects."""
    flat = asdict(task)
    for key in ("created", "eta", "started", "finished"):
        flat[key] = iso(flat[key])
    error = {key: flat.pop(f"error_{key}") for key in ("type", "message", "fingerprint")}
    error["traceback"] = flat.pop("traceback")
    progress = {key: flat.pop(f"progress_{key}") for key in ("current", "total", "message")}
    flat["error"] = error if any(error.values()) else None
    flat["progress"] = progress if any(v is not None for v in progress.values()) else None
    flat["labels"] = list(task.labels)
    flat["wait_seconds"], flat["run_seconds"] = task.wait, task.run
    return flat


def iso(moment: float | None) -> str | None:
    """A moment in seconds since the epoch as ISO 8601 in UTC, to the microsecond it is in."""
    if moment is None:
        return None
    # Rounded up, a list from a task's own time on would not have that task.
    moment = math.floor(moment * 1e6) / 1e6
    return datetime.fromtimestamp(moment, timezone.utc).isoformat().replace("+00:00", "Z")
