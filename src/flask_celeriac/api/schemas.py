"""What requests may say. Whatever is not named here is refused."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from .. import states
from ..operations.listing import LARGEST_PAGE, PAGE
from ..records.task_record import Filter

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,6})?\d*([Zz]|[+-]\d\d:\d\d)")
_SECONDS = re.compile(r"\d+(\.\d+)?([eE][+-]?\d{1,3})?")
_WHOLE = re.compile(r"\d{1,9}")


def _moment(said: object) -> float:
    found = _MOMENT.fullmatch(said) if isinstance(said, str) else None
    if found is None:
        raise ValueError("give a date and a time with a zone, such as 2026-11-21T08:00:00Z")
    date, clock, fraction, zone = found.groups()
    zone = "+00:00" if zone in "Zz" else zone
    seconds = float(fraction or 0)
    return datetime.fromisoformat(f"{date}T{clock}{zone}").timestamp() + seconds


def _number_in(pattern: re.Pattern[str], what: str) -> Any:
    """A number as a query string has it, and nothing else that Python takes for one."""

    def read(said: object) -> float:
        if not isinstance(said, str) or pattern.fullmatch(said) is None:
            raise ValueError(f"give {what}")
        return float(said)

    return BeforeValidator(read)


def _whole(said: object) -> object:
    """In JSON, 3.0 is an integer, too."""
    return int(said) if isinstance(said, float) and said.is_integer() else said


Moment = Annotated[
    float, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})
]
Seconds = Annotated[
    float,
    _number_in(_SECONDS, "a number of seconds"),
    Field(allow_inf_nan=False),
    WithJsonSchema({"type": "number", "minimum": 0}),
]
#: No database keeps the character NUL in a text.
Text = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]+$")]
State = Annotated[str, Field(json_schema_extra={"enum": list(states.STATES)})]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Chosen(_Strict):
    """Which tasks are meant; what is left out chooses nothing."""

    state: list[State] = Field([], description="Any of these states.")
    name: Text | None = Field(None, description="The name of the task, in full.")
    queue: Text | None = None
    worker: Text | None = None
    label: Text | None = Field(None, description="One of its labels.")
    error: Text | None = Field(None, description="The fingerprint of its error.")
    root: Text | None = Field(None, description="The id of its workflow's first task, or its own.")
    text: Text | None = Field(
        None,
        description="In its arguments as they are shown, its name or its error, upper case or"
        " lower.",
    )
    created_after: Moment | None = Field(None, description="Inclusive.")
    created_before: Moment | None = Field(None, description="Exclusive.")

    def as_filter(self) -> Filter:
        """The same for :mod:`flask_celeriac.operations`."""
        values = {name: getattr(self, name) for name in Chosen.model_fields if name != "state"}
        return Filter(states=tuple(self.state), **values)


class Listed(Chosen):
    """Which tasks are listed, and which part of the list."""

    cursor: Text | None = Field(None, description="`next` of the part before.")
    limit: Annotated[
        int,
        _number_in(_WHOLE, "a number"),
        WithJsonSchema({"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE}),
    ] = Field(PAGE, description="How many, at most.")


class Waiting(_Strict):
    """How long to wait for a task's end."""

    wait: Seconds = Field(0.0, description="Seconds to wait for the end of it; 30 at most count.")


class Call(_Strict):
    """The arguments of a task."""

    args: list[Any] = Field([], description="Positional arguments.")
    kwargs: dict[str, Any] = Field({}, description="Arguments by name.")


class OtherCall(_Strict):
    """Other arguments than a task had: all of them, or none for those it had."""

    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None


class Revoking(_Strict):
    """How a task is taken back."""

    terminate: bool = Field(False, description="Stop it if it runs, with its process.")


class Many(_Strict):
    """Many tasks, and how many they are."""

    filter: Chosen
    expected: Annotated[int, BeforeValidator(_whole)] = Field(
        ge=0, description="What `/tasks/count` said."
    )


class ManyRevoked(Many, Revoking):
    """Many tasks to be taken back."""
