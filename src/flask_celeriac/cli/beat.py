"""``flask celery beat``."""

from __future__ import annotations

import click

from .passthrough import RawCommand, celery_context


@click.command("beat", cls=RawCommand, add_help_option=False)
@click.pass_context
def beat(ctx: click.Context) -> None:
    """Run Celery's beat; it takes every option of Celery's own."""
    from celery.bin.beat import beat as command

    with celery_context(ctx, command) as inner:
        # Beat's signal handler looks at the result backend; made here, it is never half imported.
        _ = inner.obj.app.backend
        inner.command.invoke(inner)
