"""The SQL of the processes that claim messages, and of what they consume. No function commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import queries
from .queries import Process

if TYPE_CHECKING:
    import apsw


def add_process(
    db: apsw.Connection, pid: int, lock: str, lease: float, name: str | None = None
) -> int:
    """Note a process that will claim messages.

    :param lease: until when it is trusted to be running, on the machine's uptime clock.
    :param name: what its worker is called.
    :return: its number, never given out again.
    """
    sql = "INSERT INTO process (pid, lock, lease, name) VALUES (?, ?, ?, ?)"
    db.execute(sql, (pid, lock, lease, name))
    return db.last_insert_rowid()


def processes(db: apsw.Connection) -> list[Process]:
    """Every process that claims messages."""
    return [Process._make(row) for row in db.execute("SELECT id, pid, lock, lease FROM process")]


def name_process(db: apsw.Connection, process: int, name: str | None) -> None:
    """Note what the worker of a process is called."""
    db.execute("UPDATE process SET name = ? WHERE id = ?", (name, process))


def renew(db: apsw.Connection, process: int, lease: float) -> None:
    """Prolong a process's lease."""
    db.execute("UPDATE process SET lease = ? WHERE id = ?", (lease, process))


def remove_process(db: apsw.Connection, process: int, *, died: bool = False) -> int:
    """Forget a process: its claims become ready again, its own queues go.

    :param died: it has not left, it was killed
    :return: how many messages became ready.
    """
    released = queries.release_owner(db, process, died=died)
    db.execute("DELETE FROM process WHERE id = ?", (process,))
    queues = db.execute("SELECT queue FROM consumer WHERE process = ?", (process,)).fetchall()
    db.execute("DELETE FROM consumer WHERE process = ?", (process,))
    for (queue,) in queues:
        delete_abandoned(db, str(queue))
    return released


def add_consumer(db: apsw.Connection, process: int, tag: str, queue: str) -> None:
    """Note that a process consumes a queue."""
    db.execute("INSERT OR IGNORE INTO consumer VALUES (?, ?, ?)", (process, tag, queue))


def remove_consumer(db: apsw.Connection, process: int, tag: str, queue: str) -> None:
    """Note that a process no longer consumes a queue; an auto-delete queue goes with its last."""
    db.execute(
        "DELETE FROM consumer WHERE process = ? AND tag = ? AND queue = ?", (process, tag, queue)
    )
    delete_abandoned(db, queue)


def delete_abandoned(db: apsw.Connection, queue: str) -> None:
    """Remove an auto-delete queue that nobody consumes any more."""
    abandoned = db.execute(
        "SELECT 1 FROM queue WHERE name = ?1 AND auto_delete"
        " AND NOT EXISTS (SELECT 1 FROM consumer WHERE queue = ?1)",
        (queue,),
    ).fetchone()
    if abandoned:
        queries.delete_queue(db, queue)
