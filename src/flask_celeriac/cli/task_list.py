"""``flask celery list``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from .choosing import chooses
from .exits import opened
from .moments import duration, rounded
from .printing import Column, one_line, print_json, print_table, state_text

if TYPE_CHECKING:
    from rich.text import Text

    from ..operations import Count, Page
    from ..records.task_record import Filter, TaskRecord


@click.command("list")
@chooses
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@click.option("--cursor", help="Go on where a list before this one ended, as it said.")
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def list_(
    ctx: click.Context, *, chosen: Filter, limit: int, cursor: str | None, json: bool
) -> None:
    """List tasks, the newest first."""
    with opened(ctx) as app:
        from .. import operations
        from ..records.task_record import as_json

        page = operations.list_tasks(app, chosen, cursor=cursor, limit=limit)
        if json:
            print_json(
                {
                    "tasks": [as_json(task) for task in page.tasks],
                    "next": page.next,
                    "searched_all": page.searched_all,
                }
            )
            return
        count = operations.count(app, chosen)
    if page.tasks:
        print_tasks(page.tasks)
    click.echo(_summary(page, count), err=True)


def print_tasks(tasks: list[TaskRecord]) -> None:
    """Print tasks as a table, without columns that say the same of each."""
    queues = len({task.queue for task in tasks}) > 1
    tries = any(task.attempts > 1 for task in tasks)
    errors = any(task.error_type for task in tasks)
    columns = [
        *(Column("ID"), Column("STATE"), Column("NAME", shrinks=True)),
        *[Column("QUEUE", droppable=4)] * queues,
        Column("AGE", right=True),
        Column("WAIT", right=True, droppable=3),
        Column("RUN", right=True, droppable=1),
        *[Column("TRIES", right=True, droppable=2)] * tries,
        *[Column("ERROR", shrinks=True)] * errors,
    ]
    rows: list[list[str | Text]] = [
        [
            *(task.id, state_text(task.state), one_line(task.name or "?")),
            *[task.queue or ""] * queues,
            *(rounded(time.time() - task.created), duration(task.wait), duration(task.run)),
            *[str(task.attempts)] * tries,
            *[one_line(error_line(task))] * errors,
        ]
        for task in tasks
    ]
    print_table(columns, rows)


def error_line(task: TaskRecord) -> str:
    """What kind of error a task had, and what it said."""
    return ": ".join(part for part in (task.error_type, task.error_message) if part)


def _summary(page: Page, count: Count) -> str:
    if page.searched_all and not page.tasks:
        return "No tasks."
    line = f"{len(page.tasks)} of {count} {'task' if str(count) == '1' else 'tasks'}"
    if not page.searched_all:
        line = (
            f"{len(page.tasks)} found so far: the search stops now and then; --since makes"
            " it shorter"
        )
    return f"{line}; go on with --cursor {page.next}" if page.next else line
