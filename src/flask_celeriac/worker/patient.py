"""Workers and beat wait for their broker and their result store."""

from __future__ import annotations

import logging
from typing import Any

from celery import bootsteps

from .. import brokers, celery_app, due_dates, exposure, unpacking

logger = logging.getLogger(__name__)


class Patient(bootsteps.StartStopStep):
    """Worker step that gives the application's connections the time that Celery gives them.

    .. versionadded:: 0.1
    """

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        from . import commands  # noqa: F401 - what workers answer; costly elsewhere

        worker.app.patient = True
        unpacking.limit()

    def start(self, parent: Any) -> None:
        """Say which time limits the broker does not wait for, and who may write to it."""
        self._name_worker(parent.app, parent.hostname)
        due_dates.look_at_limits(parent.app)
        for text in sorted(set(exposure.complaints(parent.app.conf))):
            logger.warning(text)

    def stop(self, parent: Any) -> None:
        """Be what the process was before, as it may be a web server or a test."""
        parent.app.patient = False
        self._name_worker(parent.app, None)

    def _name_worker(self, app: Any, name: str | None) -> None:
        """Have the embedded broker know who takes a task; other brokers cannot say it."""
        if brokers.is_embedded(app.conf):
            from ..broker import membership

            membership.name_worker(name)

    def terminate(self, parent: Any) -> None:
        """Do the same when the worker is stopped at once."""
        self.stop(parent)


def on_beat_init(sender: Any, **_: Any) -> None:
    """Have beat wait: a run that it cannot send would be missed."""
    if isinstance(sender.app, celery_app.FlaskCelery):
        sender.app.patient = True
