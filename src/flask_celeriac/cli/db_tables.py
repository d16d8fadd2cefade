"""``flask celery db upgrade`` and ``current``: the tables beside the queue."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import click

from .loading import load_celery

if TYPE_CHECKING:
    from celery import Celery
    from sqlalchemy import Engine

    from ..celery_app import FlaskCelery


@click.command("upgrade")
@click.pass_context
def upgrade(ctx: click.Context) -> None:
    """Bring the tables to this version, or make them; stop the workers before.

    The embedded file also does it by itself when it is next used.
    """
    from .. import database
    from ..tables import SCHEMA_VERSION

    with opened(_records(ctx)) as (engine, shown):
        found = database.version_of(engine)
        database.bring_up(engine)
    if found == SCHEMA_VERSION:
        click.echo(f"{shown}: nothing to do, its tables are at version {found}")
    elif found is None:
        click.echo(f"{shown}: tables made, version {SCHEMA_VERSION}")
    else:
        click.echo(f"{shown}: tables upgraded from version {found} to {SCHEMA_VERSION}")


@click.command("current")
@click.pass_context
def current(ctx: click.Context) -> None:
    """Say which version the tables have, and which one is needed."""
    from .. import database

    with opened(_records(ctx)) as (engine, shown):
        found = database.version_of(engine)
    click.echo(f"{shown}: {version_line(found)}")


def version_line(found: int | None) -> str:
    """What to say of the version of tables, None where there are none."""
    from ..tables import SCHEMA_VERSION

    if found is None:
        return "no tables yet, they are made at first use"
    if found == SCHEMA_VERSION:
        return f"version {found}, the newest"
    return f"version {found}, version {SCHEMA_VERSION} is needed: run `flask celery db upgrade`"


def records_database(celery: Celery[Any]) -> str | None:
    """The URL of the database of the records where it is not an embedded file."""
    from ..urls import records_url

    url = records_url(cast("FlaskCelery", celery))
    return None if url is None or url.startswith("celeriac:") else url


def _records(ctx: click.Context) -> str:
    from ..sqlite import file_at, path_of
    from ..urls import records_url

    url = records_url(cast("FlaskCelery", load_celery(ctx)))
    if url is None:
        raise click.ClickException(
            "This application records nothing: set CELERIAC_DATABASE, or see `flask celery config`"
        )
    if url.startswith("celeriac:"):
        path = file_at(path_of(url)).path
        if not os.path.exists(path):
            raise click.ClickException(
                f"{path} is not there: it is made when the first task is sent"
            )
    return url


@contextmanager
def opened(url: str) -> Generator[tuple[Engine, str], None, None]:
    """An engine on a database as it is, and its name for people; errors in one line."""
    from .. import database
    from ..errors import CeleriacError
    from ..sqlite import path_of

    shown = path_of(url) if url.startswith("celeriac:") else database.masked(url)
    try:
        engine = database.unprepared(url)
        try:
            yield engine, shown
        finally:
            engine.dispose()
    except CeleriacError as error:
        raise click.ClickException(str(error)) from error
    except database.OUT_OF_REACH as error:
        reason = " ".join(str(error.orig).split())
        raise click.ClickException(f"{shown} cannot be reached: {reason}") from error
