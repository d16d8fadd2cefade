"""``flask celery queues``."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ..queue_names import named_queues
from .choosing import queue_name
from .exits import opened
from .moments import ago, duration
from .printing import Column, print_json, print_table

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery
    from ..operations import Queue


@click.command("queues")
@click.option(
    "--pause",
    type=queue_name,
    metavar="NAME",
    multiple=True,
    help="Let no task of this queue be begun; as often as you like.",
)
@click.option("--resume", metavar="NAME", multiple=True, help="Let them be begun again.")
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def queues(
    ctx: click.Context, *, pause: tuple[str, ...], resume: tuple[str, ...], json: bool
) -> None:
    """List queues, or pause or resume some."""
    if pause and resume:
        raise click.UsageError("--pause or --resume, not both")
    with opened(ctx) as app:
        from .. import operations

        if not (pause or resume):
            _print(operations.list_queues(app), json=json)
            return
        changed = {}
        for name in pause:
            changed[name] = operations.pause(app, name, actor=_actor())
            _warn_of_unknown(app, name)
        for name in resume:
            changed[name] = operations.resume(app, name)
        _tell(changed, paused=bool(pause), json=json)


def _actor() -> str | None:
    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError, ImportError):  # nobody has this user id
        return None


def _warn_of_unknown(app: FlaskCelery, name: str) -> None:
    from .. import operations

    used = [q for q in operations.list_queues(app) if q.ready or q.scheduled or q.running]
    if name not in {*named_queues(app), *(queue.name for queue in used)}:
        click.echo(
            f"No setting or task names a queue {name!r}, and it holds no tasks: if that is a slip,"
            f" take it back with `flask celery queues --resume {name}`",
            err=True,
        )


def _tell(changed: dict[str, bool], *, paused: bool, json: bool) -> None:
    """Say what became of queues.

    :param changed: whether they were not so before
    """
    if json:
        told = [{"queue": name, "paused": paused, "changed": changed[name]} for name in changed]
        print_json(told[0] if len(told) == 1 else {"queues": told})
        return
    for name, is_new in changed.items():
        if paused:
            so = "is paused" if is_new else "was paused already"
            click.echo(f"{name} {so}; it goes on with `flask celery queues --resume {name}`")
        else:
            click.echo(f"{name} {'goes on' if is_new else 'was not paused'}")


def _print(found: list[Queue], *, json: bool) -> None:
    from ..records.task_record import iso

    if json:
        listed = [{**asdict(queue), "paused_since": iso(queue.paused_since)} for queue in found]
        print_json({"queues": listed})
        return
    columns = [Column("QUEUE")]
    columns += [Column(name, right=True) for name in ("READY", "SCHEDULED", "RUNNING", "OLDEST")]
    columns += [Column("PAUSED")]
    rows = [
        [
            queue.name,
            *(_figure(queue, name) for name in ("ready", "scheduled", "running")),
            duration(queue.oldest),
            "" if queue.paused_since is None else ago(queue.paused_since),
        ]
        for queue in found
    ]
    print_table(columns, rows)


def _figure(queue: Queue, name: str) -> str:
    figure: int | None = getattr(queue, name)
    if figure is None:
        return "?"
    return f"{figure:,}+" if name in queue.at_least else f"{figure:,}"
