"""``flask celery``: Celery's programs, and what can be done with the application's tasks."""

from __future__ import annotations

import click

from .beat import beat
from .config import config
from .db import db
from .dev import dev
from .loading import AppOptionHint
from .prune import prune
from .queue_verbs import queues
from .relay import relay
from .task_list import list_
from .task_show import show, why
from .task_start import start
from .task_verbs import discard, retry, revoke
from .worker import worker
from .worker_list import workers

__all__ = ["celery"]


class CeleryGroup(AppOptionHint, click.Group):
    """The group; it knows what to say to Celery's own ``-A``."""


@click.group(cls=CeleryGroup)
def celery() -> None:
    """Run Celery for this Flask application, see its tasks and steer them.

    The application is found as for every other flask command: by --app, FLASK_APP, or a file
    wsgi.py or app.py in the current directory.
    """


for _command in (
    *(worker, beat, relay, dev, config, db),
    *(list_, show, why, start, retry, revoke, discard, queues, workers, prune),
):
    celery.add_command(_command)
