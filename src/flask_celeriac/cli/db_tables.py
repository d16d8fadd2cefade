"""``flask celery db upgrade`` and ``current``: the tables beside the queue."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import click

from .exits import OUT_OF_REACH, failure
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

    with outbox_database(ctx) as own:
        if own is not None:
            made = "made" if database.make_outbox(own) else "is there already"
            click.echo(f"{own.url.render_as_string()}: table celeriac_outbox {made}")
    if own is not None and records_missing(ctx):
        return
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

    if (line := outbox_line(ctx)) is not None:
        click.echo(line[0])
        if records_missing(ctx):
            return
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


@contextmanager
def outbox_database(ctx: click.Context) -> Generator[Engine | None, None, None]:
    """The engine of the session's database, None where tasks are not sent on commit."""
    from .. import database
    from ..errors import CeleriacError

    app = cast("FlaskCelery", load_celery(ctx))
    outbox = getattr(app, "on_commit", None)
    engine = None if outbox is None else outbox.find_engine()
    try:
        yield engine
    except CeleriacError as error:
        raise click.ClickException(str(error)) from error
    except database.OUT_OF_REACH as error:
        shown = "" if engine is None else engine.url.render_as_string()
        reason = " ".join(str(error.orig).split())
        raise failure(f"{shown} cannot be reached: {reason}", OUT_OF_REACH) from error


def outbox_line(ctx: click.Context) -> tuple[str, bool] | None:
    """What to say of the outbox, and whether it is as it should be; None where there is none."""
    from .. import database

    with outbox_database(ctx) as engine:
        if engine is None:
            return None
        found = database.outbox_complaints(engine)
        shown = engine.url.render_as_string()
    if found is None:
        missing = "no table celeriac_outbox: before tasks are sent on commit, run"
        needed = cast("Any", load_celery(ctx)).on_commit.always
        return f"{shown}: {missing} `flask celery db upgrade`", not needed
    if found:
        return "\n".join(f"{shown}: celeriac_outbox differs: {each}" for each in found), False
    return f"{shown}: table celeriac_outbox is as it should be", True


def records_missing(ctx: click.Context) -> bool:
    """Whether there is no other table to look after, or not yet."""
    from ..sqlite import file_at, path_of
    from ..urls import records_url

    url = records_url(cast("FlaskCelery", load_celery(ctx)))
    if url is None:
        return True
    return url.startswith("celeriac:") and not os.path.exists(file_at(path_of(url)).path)


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
        raise failure(f"{shown} cannot be reached: {reason}", OUT_OF_REACH) from error
