"""``flask celery prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .exits import opened
from .moments import Length
from .printing import print_json

if TYPE_CHECKING:
    from ..operations import Count

_DAY = 86400.0
#: Seconds between two batches, for others who write there.
_PAUSE = 0.05


@click.command("prune")
@click.option(
    "--succeeded",
    type=Length(0, min_open=True),
    metavar="DAYS",
    help="Keep tasks that succeeded for so long, not for CELERIAC_KEEP_SUCCEEDED.",
)
@click.option(
    "--others",
    type=Length(0, min_open=True),
    metavar="DAYS",
    help="Keep other ended tasks for so long, not for CELERIAC_KEEP_OTHERS.",
)
@click.option("--dry-run", is_flag=True, help="Only say how many records it would delete.")
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def prune(
    ctx: click.Context,
    *,
    succeeded: float | None,
    others: float | None,
    dry_run: bool,
    json: bool,
) -> None:
    """Delete the records of tasks that ended long ago."""
    with opened(ctx) as app:
        from .. import operations
        from ..worker.pruning import kept, kept_audit

        usual = kept(app)
        keep_succeeded = usual[0] if succeeded is None else succeeded * _DAY
        keep_others = usual[1] if others is None else others * _DAY
        if dry_run:
            count = operations.count_prunable(
                app, keep_succeeded=keep_succeeded, keep_others=keep_others
            )
            _tell_count(count, json=json)
            return
        deleted = operations.prune(
            app, keep_succeeded=keep_succeeded, keep_others=keep_others, pause=_PAUSE
        )
        operations.prune_marks(app, keep_audit=kept_audit(app), pause=_PAUSE)
    if json:
        print_json({"deleted": deleted})
    else:
        click.echo(f"{deleted:,} {'record' if deleted == 1 else 'records'} deleted")


def _tell_count(count: Count, *, json: bool) -> None:
    if json:
        print_json({"count": count.number, "capped": count.capped})
    else:
        click.echo(f"{count} {'record' if str(count) == '1' else 'records'} would be deleted")
