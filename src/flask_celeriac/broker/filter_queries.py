"""The SQL of which messages of the queue are chosen: states and filters as conditions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .. import states
from .queries import CLAIM_BITS

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..records.task_record import Filter

#: What tells in which state the task of a message is. A repeated attempt carries the count of
#: those before it.
#: Most say so in a way that needs no parsing.
REPEATED = (
    "(instr(envelope, '\"retries\":0,') = 0"
    " AND CAST(json_extract(envelope, '$.headers.retries') AS INTEGER) > 0)"
)
IN_STATE = {
    states.RUNNING: "claim IS NOT NULL",
    states.QUEUED: "claim IS NULL AND due IS NULL",
    states.SCHEDULED: f"claim IS NULL AND due IS NOT NULL AND NOT {REPEATED}",
    states.RETRYING: f"claim IS NULL AND due IS NOT NULL AND {REPEATED}",
}
#: What the partial indexes of the table know.
READY = "claim IS NULL AND due IS NULL"
CLAIMED = "claim IS NOT NULL"
#: Whose a claimed message is.
WORKER = f"(SELECT name FROM process WHERE process.id = claim >> {CLAIM_BITS})"
#: What a worker has, and what its record says it had last, unless another one has it now.
_OF_WORKER = (
    f"id IN (SELECT id FROM message INDEXED BY message_claimed WHERE {CLAIMED}"
    f" AND {WORKER} = :worker UNION ALL SELECT id FROM message INDEXED BY message_task"
    f" WHERE task_id IN (SELECT value FROM json_each(:recorded)) AND {WORKER} IS NULL)"
)
#: What waits for its time is not claimed: there is no need to look.
LATER = "due IS NOT NULL"


def source_of(chosen: Filter) -> str:
    """The table, and the index that finds what is chosen where it is not the one on ``created``.

    Those that workers have are few, and are the oldest: the last that would be found by age.
    """
    if chosen.worker is not None:
        return "message NOT INDEXED"  # found by their ids
    return "message INDEXED BY message_claimed" if _is_running(chosen) else "message"


def _is_running(chosen: Filter) -> bool:
    return chosen.states == (states.RUNNING,)


def parts_of(chosen: Filter) -> list[tuple[str, list[str]]]:
    """What the index of each state is asked for, and what it does not know.

    That what waits for its time, and all of a queue that was named, are tasks, goes without asking.
    """
    wanted = {state for state in chosen.states or states.OPEN if state in IN_STATE}
    of_queue = [] if chosen.queue is None else ["queue = :queue"]
    parts = []
    if states.QUEUED in wanted:
        ready = (READY, ["task_id IS NOT NULL"])
        parts.append(ready if chosen.queue is None else (f"{READY} AND queue = :queue", []))
    if states.RUNNING in wanted:
        parts.append((CLAIMED, ["task_id IS NOT NULL", *of_queue]))
    later = [IN_STATE[state] for state in (states.SCHEDULED, states.RETRYING) if state in wanted]
    if later:
        parts.append((LATER, [*of_queue, *later] if len(later) == 1 else of_queue))
    return parts


def conditions_of(
    chosen: Filter, recorded: Collection[str]
) -> tuple[list[str], dict[str, Any], list[str]]:
    """The conditions along the index on ``created``, what is bound, and the other conditions.

    :param recorded: the tasks that the chosen worker had last, as their records say.
    """
    place: list[str] = ["task_id IS NOT NULL"]
    rest: list[str] = []
    if chosen.worker is None and _is_running(chosen):
        place.append(CLAIMED)
    bound: dict[str, Any] = {"recorded": json.dumps(list(recorded))}
    for conditions, name, condition, value in (
        (rest, "task", "task = :task", chosen.name),
        (rest, "queue", "queue = :queue", chosen.queue),
        (place, "worker", _OF_WORKER, chosen.worker),
        (rest, "error", "0", chosen.error),  # known of those that have ended
        (place, "since", "created >= :since", chosen.created_after),
        (place, "until", "created < :until", chosen.created_before),
    ):
        if value is not None:
            conditions.append(condition)
            bound[name] = value
    if chosen.states:
        either = [f"({IN_STATE[state]})" for state in chosen.states if state in IN_STATE]
        rest.append(f"({' OR '.join(either) or '0'})")
    if chosen.label is not None:
        rest.append(
            "EXISTS (SELECT 1 FROM json_each(envelope, '$.headers.celeriac_labels')"
            " WHERE value = :label)"
        )
        bound["label"] = chosen.label
    if chosen.root is not None:
        rest.append("(task_id = :root OR json_extract(envelope, '$.headers.root_id') = :root)")
        bound["root"] = chosen.root
    if chosen.text:
        bound |= {f"text{number}": each for number, each in enumerate(chosen.spellings)}
        found = [f"instr(lower(body), lower(:text{n}))" for n in range(len(chosen.spellings))]
        rest.append(f"({' OR '.join(found)} OR instr(lower(task), lower(:text0)))")
    return place, bound, rest
