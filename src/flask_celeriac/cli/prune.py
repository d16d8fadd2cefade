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
    type=click.FloatRange(0, min_open=True),
    metavar="DAYS",
    help="Keep tasks that succeeded for so long, not for CELERIAC_KEEP_SUCCEEDED.",
)
@click.option(
    "--others",
    type=click.FloatRange(0, min_open=True),
    metavar="DAYS",
    help="Keep other ended tasks for so long, not for CELERIAC_KEEP_OTHERS.",
)
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def prune(ctx: click.Context, *, succeeded: float | None, others: float | None, json: bool) -> None:
    """Delete the records of tasks that ended long ago."""
    with opened(ctx) as app:
        from .. import operations
        from ..worker.pruning import kept

        usual = kept(app)
        deleted = operations.prune(
            app,
            keep_succeeded=usual[0] if succeeded is None else succeeded * _DAY,
            keep_others=usual[1] if others is None else others * _DAY,
            pause=_PAUSE,
        )
    if json:
        print_json({"deleted": deleted})
    else:
        click.echo(f"{deleted:,} {'record' if deleted == 1 else 'records'} deleted")
