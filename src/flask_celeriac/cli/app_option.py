"""What ``celery -A module`` finds where the module's ``app`` is a Flask application."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from celery import Celery


class UserOptions:
    """The ``user_options`` of a Flask application, for Celery's command line.

    ``celery -A module`` takes the module's ``app`` before anything else, and the first thing it
    asks it for are its ``user_options``. A Flask application has none but these, which tell the
    command to go on with the application's Celery.

    :param celery: the application's Celery
    """

    def __init__(self, celery: Celery[Any]) -> None:
        self.celery = celery

    def get(self, command: str, default: Iterable[Any] = ()) -> Iterable[Any]:
        """The options that were added to a command of Celery's."""
        from celery.bin.base import CLIContext

        ctx = click.get_current_context(silent=True)
        if ctx is not None and isinstance(ctx.obj, CLIContext):
            ctx.obj.app = self.celery
        return self.celery.user_options.get(command, default)
