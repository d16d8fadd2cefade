"""``flask celery``: Celery's programs, run for the current Flask application."""

from __future__ import annotations

import click

from .beat import beat
from .config import config
from .db import db
from .dev import dev
from .loading import AppOptionHint
from .worker import worker

__all__ = ["celery"]


class CeleryGroup(AppOptionHint, click.Group):
    """The group; it knows what to say to Celery's own ``-A``."""


@click.group(cls=CeleryGroup)
def celery() -> None:
    """Run Celery for this Flask application.

    The application is found as for every other flask command: by --app, FLASK_APP, or a file
    wsgi.py or app.py in the current directory.
    """


celery.add_command(worker)
celery.add_command(beat)
celery.add_command(dev)
celery.add_command(config)
celery.add_command(db)
