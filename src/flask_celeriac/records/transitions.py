"""What is written of a task only if that is news, looked at in one transaction."""

from __future__ import annotations

from typing import Any

from .. import states
from . import gate_queries, task_queries, write_queries
from .task_record import Attempt


def end(connection: Any, values: dict[str, Any], *, late: bool = False) -> None:
    """Write how a run has ended.

    :param late: the next one may have begun
    """
    overtaken = False
    if late and (found := gate_queries.standing(connection, values["task_id"])):
        overtaken = found.attempts > values.get("attempts", found.attempts)
    written = not overtaken and write_queries.write(connection, values)
    if (written or overtaken) and values["state"] == states.RETRYING:
        task_queries.add_attempt(connection, values["task_id"], Attempt.of(values))


def announce(connection: Any, values: dict[str, Any]) -> None:
    """Write that a message is about to be sent, unless another one of its task runs."""
    found = gate_queries.standing(connection, values["task_id"], alone=True)
    if found is None or found.state != states.RUNNING:
        write_queries.write(connection, values)
