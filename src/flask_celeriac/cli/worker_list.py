"""``flask celery workers``."""

from __future__ import annotations

from dataclasses import asdict

import click

from .exits import opened
from .moments import Length, rounded
from .printing import Column, plain, print_json, print_table


@click.command("workers")
@click.option(
    "--timeout",
    type=Length(0, min_open=True),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for their answers.",
)
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def workers(ctx: click.Context, *, timeout: float, json: bool) -> None:
    """List the workers that answer, and what they are at."""
    with opened(ctx) as app:
        from .. import operations

        found = operations.list_workers(app, timeout=timeout)
    if json:
        print_json({"workers": [asdict(worker) for worker in found]})
        return
    if not found:
        click.echo("No worker answers: start one with `flask celery worker`.", err=True)
        return
    columns = [Column("WORKER"), Column("POOL"), Column("RUNNING", right=True)]
    columns += [Column("UP", right=True), Column("PID", right=True), Column("QUEUES")]
    rows = [
        [
            worker.name,
            worker.pool or "?",
            f"{len(worker.running)} of {worker.concurrency or '?'}",
            "" if worker.uptime is None else rounded(worker.uptime),
            str(worker.pid or ""),
            ", ".join(worker.queues),
        ]
        for worker in found
    ]
    print_table(columns, rows)
    for worker in found:
        for task_id in worker.running:
            click.echo(plain(f"{worker.name} runs {task_id}"))
