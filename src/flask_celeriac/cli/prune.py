"""``flask celery prune``."""

from __future__ import annotations

import click

from .exits import opened
from .printing import print_json

_DAY = 86400.0
#: Seconds between two batches, for others who write there.
_PAUSE = 0.05


@click.command("prune")
@click.option(
    "--succeeded",
    type=click.FloatRange(0),
    metavar="DAYS",
    help="Keep tasks that succeeded for so long; 7 unless said otherwise.",
)
@click.option(
    "--others",
    type=click.FloatRange(0),
    metavar="DAYS",
    help="Keep other ended tasks for so long; 30 unless said otherwise.",
)
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def prune(ctx: click.Context, *, succeeded: float | None, others: float | None, json: bool) -> None:
    """Delete the records of tasks that ended long ago."""
    given = {"keep_succeeded": succeeded, "keep_others": others}
    keep = {name: days * _DAY for name, days in given.items() if days is not None}
    with opened(ctx) as app:
        from .. import operations

        deleted = operations.prune(app, pause=_PAUSE, **keep)
    if json:
        print_json({"deleted": deleted})
    else:
        click.echo(f"{deleted:,} {'record' if deleted == 1 else 'records'} deleted")
