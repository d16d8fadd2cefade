"""Run one of Celery's own commands inside ``flask celery``, with every option it has."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from flask.cli import ScriptInfo

from .loading import app_option_error, load_celery

if TYPE_CHECKING:
    from celery import Celery


class RawCommand(click.Command):
    """A command that keeps its arguments as they were typed, for another one to parse."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments in ``ctx.args``; nothing is an error here."""
        ctx.args = list(args)
        return ctx.args


def celery_context(ctx: click.Context, command: click.Command) -> click.Context:
    """Parse the raw arguments with a command of Celery's, for the current application.

    Celery's own group is left out: it reads ``APP`` and ``BROKER_URL`` from the environment,
    where ``--app`` and the application's configuration have already spoken.

    :param ctx: the context of a :class:`RawCommand`.
    :param command: Celery's command; it is not changed.
    :raises click.UsageError: Celery's parser refuses an argument.
    """
    from celery.bin.base import CLIContext

    celery = None if "--help" in ctx.args else load_celery(ctx)
    if path := ctx.ensure_object(ScriptInfo).app_import_path:
        # A pool process that is started fresh instead of forked looks for it here.
        os.environ["FLASK_APP"] = path
    try:
        return with_user_options(command, celery).make_context(
            ctx.info_name,
            list(ctx.args),
            parent=ctx.parent,
            obj=CLIContext(
                app=celery,  # type: ignore[arg-type]  # None is the current app
                no_color=True if os.environ.get("NO_COLOR") else None,  # type: ignore[arg-type]
                workdir=None,
                quiet=bool(os.environ.get("CELERY_QUIET")),
            ),
            default_map={"loglevel": "INFO"},
            # The names that Celery's own command reads; FLASK_CELERY_* are settings.
            auto_envvar_prefix=f"CELERY_{(ctx.info_name or '').upper()}",
        )
    except click.NoSuchOption as error:
        raise app_option_error(error, ctx, ctx.args) from None


def with_user_options(command: click.Command, celery: Celery[Any] | None) -> click.Command:
    """A copy of the command, with the options that the application added to it."""
    command = copy.copy(command)
    options: Mapping[str, set[Any]] = celery.user_options if celery is not None else {}
    extra = [*options.get(command.name or "", ()), *options.get("preload", ())]
    command.params = [*command.params, *extra]
    return command
