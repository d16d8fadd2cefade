"""``flask celery show`` and ``why``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from .exits import NOT_ENDED, NOT_SUCCEEDED, opened
from .moments import Length, clock, duration, local
from .printing import (
    Column,
    as_value,
    one_line,
    plain,
    print_facts,
    print_json,
    print_table,
    state_text,
)
from .task_list import error_line, print_tasks

if TYPE_CHECKING:
    from ..records.task_record import Attempt, TaskRecord


@click.command("show")
@click.argument("task_id", metavar="ID")
@click.option(
    "--wait",
    type=Length(0),
    metavar="SECONDS",
    help="Wait for its end; the exit code is 4 if it did not succeed, 5 if it has not ended.",
)
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def show(ctx: click.Context, task_id: str, *, wait: float | None, json: bool) -> None:
    """Show everything that is known of a task."""
    with opened(ctx) as app:
        from .. import operations

        if wait is None:
            task = operations.show(app, task_id)
        else:
            task = operations.wait(app, task_id, wait)
        attempts = operations.attempts(app, task_id)
        workflow = operations.workflow(app, task.root_id or task.id)
    others = [member for member in workflow if member.id != task.id]
    if json:
        print_json(_document(task, attempts, others))
    else:
        _print_task(task)
        _print_attempts(attempts)
        if others:
            click.echo("\nWorkflow")
            print_tasks(others)
    if wait is not None:
        ctx.exit(outcome(task))


@click.command("why")
@click.argument("task_id", metavar="ID")
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def why(ctx: click.Context, task_id: str, *, json: bool) -> None:
    """Say why a task is still waiting, and what to do about it."""
    with opened(ctx) as app:
        from .. import operations

        reasons = operations.why(app, task_id)
    if json:
        print_json({"id": task_id, "reasons": [asdict(reason) for reason in reasons]})
        return
    for reason in reasons:
        click.echo(plain(reason.text))


def outcome(task: TaskRecord) -> int:
    """The exit code that says how a task ended."""
    from .. import states

    if not task.ended:
        return NOT_ENDED
    return 0 if task.state == states.SUCCEEDED else NOT_SUCCEEDED


def _document(
    task: TaskRecord, attempts: list[Attempt], others: list[TaskRecord]
) -> dict[str, Any]:
    from ..records.task_record import as_json, iso

    earlier = [
        {**asdict(one), "started": iso(one.started), "finished": iso(one.finished)}
        for one in attempts
    ]
    members = [{"id": one.id, "name": one.name, "state": one.state} for one in others]
    return {**as_json(task), "earlier_attempts": earlier, "workflow": members}


def _print_task(task: TaskRecord) -> None:
    from .. import states

    succeeded = task.state == states.SUCCEEDED
    print_facts(
        [
            ("id", task.id),
            ("name", task.name),
            ("state", state_text(task.state)),
            ("progress", _progress(task)),
            ("error", error_line(task)),
            ("fingerprint", task.error_fingerprint),
            ("result", as_value(task.result) if succeeded else None),
            ("args", "not kept" if task.args is None else as_value(task.args)),
            ("kwargs", as_value(task.kwargs) if task.kwargs else None),
            ("queue", task.queue),
            ("priority", str(task.priority) if task.priority else None),
            ("attempts", str(task.attempts)),
            ("worker", task.worker),
            ("sent", local(task.created)),
            ("not before", _moment(task.eta)),
            ("started", _moment(task.started)),
            ("finished", _moment(task.finished)),
            ("waited", duration(task.wait)),
            ("ran", duration(task.run)),
            ("labels", ", ".join(task.labels)),
            ("retry of", task.retry_of),
            ("schedule", task.schedule),
            ("root", task.root_id),
            ("parent", task.parent_id),
            ("group", task.group_id),
            ("chord", task.chord_id),
            ("request", task.request_id),
            ("trace", task.trace_id),
        ]
    )
    if task.traceback:
        click.echo("\n" + plain(task.traceback.rstrip()))


def _moment(moment: float | None) -> str | None:
    return None if moment is None else local(moment)


def _progress(task: TaskRecord) -> str | None:
    if task.progress_current is None and not task.progress_message:
        return None
    figures = ""
    if task.progress_current is not None:
        figures = f"{task.progress_current:g}"
        if task.progress_total:
            share = task.progress_current / task.progress_total
            figures += f" of {task.progress_total:g} ({share:.0%})"
    return one_line(f"{figures} {task.progress_message or ''}")


def _print_attempts(attempts: list[Attempt]) -> None:
    if not attempts:
        return
    click.echo("\nEarlier attempts")
    headings = [
        *(Column("NO", right=True), Column("STATE"), Column("WORKER", shrinks=True, droppable=1)),
        *(Column("STARTED"), Column("RUN", right=True), Column("ERROR", shrinks=True)),
    ]
    print_table(headings, [_attempt_row(attempt) for attempt in attempts])


def _attempt_row(attempt: Attempt) -> list[Any]:
    ran = None
    if attempt.started is not None and attempt.finished is not None:
        ran = max(0.0, attempt.finished - attempt.started)
    error = ": ".join(part for part in (attempt.error_type, attempt.error_message) if part)
    return [
        str(attempt.number),
        state_text(attempt.state),
        attempt.worker or "",
        "" if attempt.started is None else clock(attempt.started),
        duration(ran),
        one_line(error),
    ]
