"""``flask celery db``: the embedded file and the tables, looked at and looked after."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .db_tables import current, opened, outbox_line, records_database, upgrade, version_line
from .loading import AppOptionHint, load_celery

if TYPE_CHECKING:
    from celery import Celery

    from ..examination import Examination
    from ..sqlite import File


class Group(AppOptionHint, click.Group):
    """The group, which knows what to say to Celery's own ``-A``."""


@click.group("db", cls=Group)
def db() -> None:
    """Back up, check or salvage the embedded broker's file; upgrade the tables of a database."""


db.add_command(upgrade)
db.add_command(current)


@db.command("backup")
@click.argument("target", metavar="FILE", type=click.Path(dir_okay=False))
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@click.pass_context
def backup(ctx: click.Context, target: str, force: bool) -> None:
    """Copy the file to FILE while workers and web servers go on."""
    from ..backup import back_up

    with _told():
        _, file = _existing(ctx)
        size = back_up(file, target, overwrite=force)
    click.echo(f"{_size(size)} in {os.path.abspath(target)}, checked and whole")
    click.echo(
        "To restore it, stop workers, beat and web server, take away "
        f"{file.path}, {os.path.basename(file.path)}-wal and {os.path.basename(file.path)}-shm, "
        f"and copy it to {file.path}"
    )


@db.command("check")
@click.pass_context
def check(ctx: click.Context) -> None:
    """Say whether the file is whole, or a database's tables as they should be.

    The exit code is 1 when something is wrong, 3 when the database is out of reach.
    """
    url = records_database(load_celery(ctx))
    whole = _check_tables(url) if url is not None else True
    line = outbox_line(ctx)
    if line is not None:
        click.echo(f"outbox     {line[0]}")
        whole = whole and line[1]
    if _has_file(ctx) or (url is None and line is None):
        whole = _check_file(ctx) and whole
    if not whole:
        ctx.exit(1)


def _check_file(ctx: click.Context) -> bool:
    from ..examination import examine

    with _told():
        _, file = _existing(ctx)
        found = examine(file)
    newer = _newer(found)
    click.echo("\n".join(_lines(file, found, newer)))
    return not found.complaints and newer is None


def _check_tables(url: str) -> bool:
    from .. import database
    from ..tables import SCHEMA_VERSION

    with opened(url) as (engine, shown):
        found = database.version_of(engine)
        complaints = database.complaints(engine) if found == SCHEMA_VERSION else []
    click.echo(f"database   {shown}\ntables     {version_line(found)}")
    for complaint in complaints:
        click.echo(f"           differ: {complaint}")
    return found in (None, SCHEMA_VERSION) and not complaints


def _has_file(ctx: click.Context) -> bool:
    """Whether tasks go through an embedded file that is there."""
    try:
        _, file = _embedded(ctx)
    except click.ClickException:
        return False
    return os.path.exists(file.path)


@db.command("salvage")
@click.option(
    "--from",
    "aside",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Copy from this file, and leave the one in use in its place.",
)
@click.pass_context
def salvage(ctx: click.Context, aside: str | None) -> None:
    """Set a damaged file aside, make a new one, and copy what can be read.

    Stop the workers, beat and the web server before; with --from they may go on.
    """
    from ..examination import examine
    from ..exclusive import set_aside
    from ..salvage import copy

    named = aside
    with _told():
        if aside is None:
            url, file = _existing(ctx)
            if _is_whole(lambda: examine(file)):
                click.echo(f"{file.path} is whole: there is nothing to salvage")
                return
            aside = set_aside(file)
            click.echo(f"The damaged file is now {aside}")
        else:
            url, file = _embedded(ctx)
        _make(url)
        copied = copy(os.path.abspath(aside), file)
    if named is not None and not copied.read:
        raise click.ClickException(
            f"{named}: nothing of ours could be read in it: name the file that was set aside, whose"
            " name ends in .damaged-<when>"
        )
    for table, count in copied.rows.items():
        more = ", and others that could not be read" if table in copied.incomplete else ""
        click.echo(f"{count:>9} {_TABLES.get(table, f'rows of {table}')}{more}")
    click.echo(
        "Tasks that ran when the file was damaged run again. What could not be read is in the"
        f" damaged file only: keep it, or delete it with its -wal and -shm: {aside}"
    )


#: What the rows of our tables are.
_TABLES = {
    "message": "messages",
    "queue": "queues",
    "binding": "bindings of queues",
    "celeriac_record": "results",
    "celeriac_group": "groups",
}


def _embedded(ctx: click.Context) -> tuple[str, File]:
    """The URL and the file of the application's embedded broker, or of its results."""
    from ..sqlite import file_at, path_of

    celery = load_celery(ctx)
    for url in _urls(celery):
        if url.startswith("celeriac:"):
            return url, file_at(path_of(url))
    scheme = next(_urls(celery), "nothing").partition(":")[0]
    raise click.ClickException(
        f"This application's tasks go through {scheme}, not through an embedded file: use that"
        " server's own tools, or `flask celery config` to see where the URL comes from"
    )


def _urls(celery: Celery[Any]) -> Generator[str, None, None]:
    conf: Any = celery.conf
    for value in (conf.broker_write_url, conf.broker_read_url, conf.result_backend):
        first = value[0] if isinstance(value, (list, tuple)) else value
        if first:
            yield str(first)


def _existing(ctx: click.Context) -> tuple[str, File]:
    url, file = _embedded(ctx)
    if not os.path.exists(file.path):
        raise click.ClickException(
            f"{file.path} is not there: it is made when the first task is sent"
        )
    return url, file


def _make(url: str) -> None:
    """Make the file with all its tables, as its first user would."""
    from ..broker.store import store_at
    from ..database import engine_for
    from ..sqlite import path_of

    store_at(path_of(url)).open()
    engine_for(url)


def _is_whole(examine: Callable[[], Examination]) -> bool:
    from ..errors import StorageError, StorageUnavailableError

    try:
        return not examine().complaints
    except StorageUnavailableError:
        raise
    except StorageError:
        return False


@contextmanager
def _told() -> Generator[None, None, None]:
    """Tell our errors in one line."""
    from ..errors import CeleriacError

    try:
        yield
    except CeleriacError as error:
        raise click.ClickException(str(error)) from error


def _newer(found: Examination) -> str | None:
    """What to say of tables that this version cannot read, None where there are none."""
    from ..broker.schema import VERSION
    from ..tables import SCHEMA_VERSION

    if found.queue_version <= VERSION and found.records_version <= SCHEMA_VERSION:
        return None
    return (
        f"written by a newer Flask-Celeriac (this one knows queue {VERSION}, records"
        f" {SCHEMA_VERSION}): upgrade flask-celeriac here too"
    )


def _lines(file: File, found: Examination, newer: str | None) -> list[str]:
    schema = f"queue {found.queue_version}, records {found.records_version}"
    rows = [
        ("file", file.path),
        ("size", f"{_size(found.size)}, {_size(found.free)} of it free for reuse"),
        ("log", _size(found.log)),
        ("schema", schema if newer is None else f"{schema}: {newer}"),
        ("integrity", "ok" if not found.complaints else "damaged"),
    ]
    lines = [f"{name:<9}  {text}" for name, text in rows]
    if found.complaints:
        lines += [f"           {complaint}" for complaint in found.complaints]
        lines.append("Restore a backup, or keep what is readable: flask celery db salvage")
    return lines


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
