"""The SQL that counts the runs of a message that were cut off. No function commits.

``starts`` counts runs that were begun and have not come to an end: all but the first when they
begin, which is cheap where a message was claimed before; the first when its process has died.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .. import states
from .queries import CUT_OFF

if TYPE_CHECKING:
    import apsw


def count_start(db: apsw.Connection, message: int, claim: int) -> bool:
    """Count a run of a message that was claimed before; False if the claim was taken away."""
    db.execute(
        "UPDATE message SET starts = starts + 1 WHERE id = ? AND claim = ?", (message, claim)
    )
    return db.changes() > 0


def headers_of(db: apsw.Connection, message: int) -> dict[str, Any]:
    """Headers that tell of the runs of a message that were cut off: how many, and the last one."""
    sql = "SELECT starts, cut_worker, cut_taken FROM message WHERE id = ? AND starts > 0"
    row = db.execute(sql, (message,)).fetchone()
    return {"celeriac_crashes": row[0], "celeriac_cut_off": list(row[1:])} if row else {}


def note(
    db: apsw.Connection,
    crashed: set[tuple[int, int]],
    stopped: set[tuple[int, int]],
    released: Iterable[tuple[int, int]],
) -> None:
    """Count the runs of messages that are about to be released.

    :param crashed: their process has died, so that the first run counts, too
    :param stopped: their run was stopped for another one to begin, so that it does not count
    """
    if crashed or stopped:
        sql = "UPDATE message SET starts = {} WHERE id = ? AND claim = ?"
        noted = f"max(starts, 1), {CUT_OFF}"
        db.executemany(sql.format(noted), crashed.intersection(released))
        db.executemany(sql.format("max(starts - 1, 0)"), stopped.intersection(released))


def ack_succeeded(db: apsw.Connection, claims: Iterable[tuple[int, int]]) -> None:
    """Delete the claimed messages of tasks whose success is recorded in this file.

    A pool process stores that before it says so to its worker, which may stop in between; what
    follows a task has been sent by then.
    """
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'celeriac_record'").fetchone():
        db.executemany(
            "DELETE FROM message WHERE id = ? AND claim = ? AND EXISTS (SELECT 1 FROM"
            " celeriac_record r WHERE r.task_id = message.task_id AND r.state = ?)",
            [(*claim, states.SUCCEEDED) for claim in claims],
        )
