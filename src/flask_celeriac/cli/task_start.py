"""``flask celery start``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .choosing import queue_name
from .exits import REFUSED, failure, opened
from .moments import Length, instant
from .printing import as_value, one_line, plain, print_json
from .task_arguments import read_pairs, takes_arguments
from .task_list import error_line
from .task_show import outcome

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery
    from ..records.task_record import TaskRecord


@click.command("start")
@click.argument("name")
@click.argument("pairs", metavar="[KEY=VALUE]...", nargs=-1)
@takes_arguments
@click.option("--queue", type=queue_name, metavar="NAME", help="Send it to this queue.")
@click.option(
    "--priority",
    type=click.IntRange(0, 9),
    help="9 is first on the embedded broker and RabbitMQ, 0 on Redis.",
)
@click.option("--countdown", type=Length(0), metavar="SECONDS", help="Not before then.")
@click.option(
    "--eta", type=instant, metavar="TIME", help="Not before 2026-01-31T14:30, in local time."
)
@click.option("--label", "labels", multiple=True, help="To be found by; may be given often.")
@click.option(
    "--wait",
    type=Length(0),
    metavar="SECONDS",
    help="Wait for its end; the exit code is 4 if it did not succeed, 5 if it has not ended.",
)
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def start(
    ctx: click.Context,
    /,
    name: str,
    pairs: tuple[str, ...],
    *,
    args: list[Any] | None,
    kwargs: dict[str, Any] | None,
    wait: float | None,
    json: bool,
    labels: tuple[str, ...],
    **given: Any,
) -> None:
    """Send a task by its name, and print its id.

    A VALUE is read as JSON where it is some, and as text otherwise: n=3 is a number, who=Ada a
    text, who='"3"' too.
    """
    options = {key: value for key, value in given.items() if value is not None}
    if {"countdown", "eta"} <= set(options):
        raise click.UsageError("--countdown or --eta, one of the two")
    if labels:
        options["labels"] = list(labels)
    with opened(ctx) as app:
        if wait is not None:
            _check_that_it_can_wait(app)
        keywords = {**(kwargs or {}), **read_pairs(pairs)}
        task_id, ran = send(app, name, args or [], keywords, **options)
        if wait is None:
            if json:
                print_json({"id": task_id})
            else:
                click.echo(task_id)
            return
        if not json:
            click.echo(task_id)
        task = ran or _ended(app, task_id, wait)
    _print_end(task, json=json)
    ctx.exit(outcome(task))


def send(
    app: FlaskCelery, name: str, args: Any, kwargs: Any, **options: Any
) -> tuple[str, TaskRecord | None]:
    """Send a task, and tell in one line if it does not take these arguments.

    :return: its id, and what became of it where tasks are run at once
    """
    from .. import operations

    try:
        result = operations.send(app, name, args, kwargs, **options)
        return str(result.id), operations.run_at_once(app, result)
    except TypeError as error:
        raise failure(plain(str(error)), REFUSED) from error


def _check_that_it_can_wait(app: FlaskCelery) -> None:
    """Before anything is sent."""
    from ..operations.sources import sources_of

    sources_of(app)


def _ended(app: FlaskCelery, task_id: str, wait: float) -> TaskRecord:
    from .. import operations

    return operations.wait(app, task_id, wait)


def _print_end(task: TaskRecord, *, json: bool) -> None:
    from .. import states
    from ..records.task_record import as_json

    if json:
        print_json(as_json(task))
    elif task.state == states.SUCCEEDED:
        click.echo(f"{task.state}: {plain(as_value(task.result))}")
    elif task.ended:
        click.echo(f"{task.state}: {plain(one_line(error_line(task)))}".rstrip(": "))
    else:
        click.echo(f"still {task.state}: look again with `flask celery show --wait 60 {task.id}`")
