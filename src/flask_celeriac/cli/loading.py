"""From a click context to the current Flask application and its Celery."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click
from flask import Flask
from flask.cli import ScriptInfo

from ..errors import CeleriacError, NotInitializedError

if TYPE_CHECKING:
    from celery import Celery


class AppOptionHint(click.Command):
    """A command that answers Celery's ``-A`` with the form that works here."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as usual, and refuse ``-A`` in words."""
        typed = list(args)  # the parser eats its list
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise app_option_error(error, ctx, typed) from None


def load_app(ctx: click.Context) -> Flask:
    """The Flask application that ``flask --app`` names. No app context is pushed.

    :raises click.ClickException: making it raised one of our errors, whose message says it all.
    """
    try:
        return ctx.ensure_object(ScriptInfo).load_app()
    except CeleriacError as error:
        raise click.ClickException(_plain(error)) from error


def load_celery(ctx: click.Context) -> Celery[Any]:
    """The Celery of the current Flask application.

    :raises click.ClickException: the application has none, or something else in its place.
    """
    from celery import Celery

    app = load_app(ctx)
    found = app.extensions.get("celery")
    if found is None:
        raise click.ClickException(not_initialized())
    if not isinstance(found, Celery):
        raise click.ClickException(
            f"app.extensions['celery'] is a {type(found).__module__}.{type(found).__qualname__},"
            " not a celery.Celery: another extension took the name. Call celeriac.init_app(app)"
            " instead of it."
        )
    return found  # pyright: ignore[reportUnknownVariableType]


def not_initialized() -> str:
    """What to say of an application that has no Celery."""
    return _plain(NotInitializedError())


def _plain(error: CeleriacError) -> str:
    return str(error).replace("``", "")


def app_option_error(
    error: click.NoSuchOption, ctx: click.Context, args: list[str]
) -> click.UsageError:
    """What to say when somebody types Celery's ``-A`` after ``flask celery``."""
    if error.option_name not in ("-A", "--app"):
        return error
    name, rest = _without_app_option(args)
    # In the group itself, the command is among the arguments still.
    inside = [] if isinstance(ctx.command, click.Group) else [str(ctx.info_name)]
    tail = " ".join([*inside, *rest] or ["worker"])
    return click.UsageError(
        f"{error.option_name} names the Flask application and goes before celery:\n\n"
        f"  flask --app {_flask_name(name)} celery {tail}\n\n"
        "or, with Celery's own command and the module that holds the Celery object:\n\n"
        f"  celery -A {name} {tail}",
        ctx,
    )


def _flask_name(name: str) -> str:
    """What ``flask --app`` takes for it: the module, not the Celery object in it."""
    return re.sub(r"(?<=\w)[.:]celery(_app)?$", "", name)


def _without_app_option(args: list[str]) -> tuple[str, list[str]]:
    """The value of ``-A`` and the arguments without it."""
    rest = list(args)
    for at, arg in enumerate(args):
        if arg in ("-A", "--app"):
            name = args[at + 1] if at + 1 < len(args) else "MODULE"
            return name, args[:at] + args[at + 2 :]
        if arg.startswith("--app="):
            return arg.removeprefix("--app="), args[:at] + args[at + 1 :]
        if arg.startswith("-A"):
            return arg[2:], args[:at] + args[at + 1 :]
    return "MODULE", rest
