"""What answers say. For the OpenAPI document: nothing is made of these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, RootModel

from .. import states

_STATES: dict[str, JsonValue] = {"enum": list(states.STATES)}
_MOMENT: dict[str, JsonValue] = {"format": "date-time"}


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Error(_Shape):
    """What a task failed with."""

    type: str | None
    message: str | None
    fingerprint: str | None = Field(description="The same for errors of one kind from one place.")
    traceback: str | None


class Progress(_Shape):
    """How far a task says it is."""

    current: float | None
    total: float | None
    message: str | None


class Task(_Shape):
    """A task, as far as it is known: null is what is not."""

    id: str
    state: str = Field(json_schema_extra=_STATES)
    status: str | None = Field(description="The state in Celery's words, or the task's own.")
    name: str | None
    queue: str | None
    priority: int | None
    attempts: int
    args: list[Any] | None
    kwargs: dict[str, Any] | None
    result: Any = Field(description="What it returned. Not in lists.")
    error: Error | None
    progress: Progress | None
    created: str = Field(json_schema_extra=_MOMENT)
    eta: str | None = Field(json_schema_extra=_MOMENT)
    started: str | None = Field(json_schema_extra=_MOMENT)
    finished: str | None = Field(json_schema_extra=_MOMENT)
    wait_seconds: float | None
    run_seconds: float | None
    worker: str | None
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    chord_id: str | None
    retry_of: str | None
    schedule: str | None
    labels: list[str]
    request_id: str | None
    trace_id: str | None


class TaskList(_Shape):
    """A part of a list, newest first."""

    tasks: list[Task]
    next: str | None = Field(description="The cursor of the next part.")
    searched_all: bool = Field(
        description="False where the search stopped early: the next part may hold more."
    )


class Stream(RootModel[str]):
    """Events `task`, each with the task in JSON, and at last an event `end`."""


class Count(_Shape):
    """How many tasks there are."""

    count: int
    capped: bool = Field(description="There may be more: it was not counted further.")


class Outcome(_Shape):
    """What became of many tasks."""

    done: int
    refused: dict[str, str] = Field(description="Why it could not be done, by id.")
    made: dict[str, str] = Field(description="The task that was sent for each, by id.")


class Attempt(_Shape):
    """An attempt that did not end its task."""

    number: int
    state: str
    worker: str | None
    started: str | None = Field(json_schema_extra=_MOMENT)
    finished: str | None = Field(json_schema_extra=_MOMENT)
    error_type: str | None
    error_message: str | None
    traceback: str | None


class Attempts(_Shape):
    """The attempts that did not end a task, the first one first."""

    attempts: list[Attempt]


class Reason(_Shape):
    """Why a task has not been begun."""

    code: str
    text: str


class Reasons(_Shape):
    """Why a task is where it is, the strongest reason first."""

    reasons: list[Reason]


class Queue(_Shape):
    """A queue, as it is just now: null where nobody can tell."""

    name: str
    ready: int | None
    scheduled: int | None
    running: int | None
    oldest: float | None = Field(description="Seconds the first of the ready ones has waited.")
    paused_since: str | None = Field(json_schema_extra=_MOMENT)
    at_least: list[str] = Field(description="Those of the figures of which there may be more.")


class Queues(_Shape):
    """The queues that a setting or a task names, that hold tasks or are paused."""

    queues: list[Queue]


class Worker(_Shape):
    """A worker that answered just now."""

    name: str
    pid: int | None
    pool: str | None
    concurrency: int | None
    queues: list[str]
    running: list[str]
    tasks: list[str]
    uptime: float | None = Field(description="Seconds.")


class Workers(_Shape):
    """The workers that answered."""

    workers: list[Worker]


class Type(_Shape):
    """A task that may be started."""

    name: str
    description: str
    arguments: dict[str, Any] = Field(description="The JSON Schema of its arguments.")


class Types(_Shape):
    """The tasks that may be started."""

    types: list[Type]


class Place(_Shape):
    """What is wrong where."""

    place: str = Field(description="A parameter's name, or a JSON pointer into the body.")
    detail: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Place] = []
    outcome: Outcome | None = Field(None, description="What was done of it until then.")


class Document(BaseModel):
    """An OpenAPI document."""

    openapi: Literal["3.1.0"]
