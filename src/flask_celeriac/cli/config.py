"""``flask celery config``."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence

import click

from .loading import load_app, not_initialized

HEADINGS = ("SETTING", "FROM", "VALUE")


@click.command("config")
@click.option("--all", "everything", is_flag=True, help="Show Celery's defaults too.")
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def config(ctx: click.Context, everything: bool, json: bool) -> None:
    """Show each effective setting and where it came from.

    Passwords and other secrets are masked.
    """
    from ..config import effective

    state = load_app(ctx).extensions.get("celeriac")
    if state is None:
        raise click.ClickException(not_initialized())
    rows = effective(state.settings, state.celery.conf, defaults=everything)
    if json:
        found = [{"setting": row.key, "value": row.value, "from": row.origin} for row in rows]
        click.echo(json_format.dumps(found, indent=2, default=str))
    else:
        # The value is last: it may be long.
        cells = [(row.key, row.origin, _text(row.value)) for row in rows]
        click.echo(table([HEADINGS, *cells]))


def table(rows: Sequence[tuple[str, str, str]]) -> str:
    """Align rows in columns; the last column is as wide as it likes."""
    first, second = (max(len(row[column]) for row in rows) for column in range(2))
    return "\n".join(f"{a:<{first}}  {b:<{second}}  {c}".rstrip() for a, b, c in rows)


def _text(value: object) -> str:
    return value if isinstance(value, str) else repr(value)
