"""The events that workers send about tasks, without the passwords that an error's text may hold."""

from __future__ import annotations

from typing import Any

from celery.app import events
from celery.events import dispatcher

from .config_mask import mask

#: Celery's stubs know only a part of these.
CeleryEvents: Any = events.Events
CeleryDispatcher: Any = dispatcher.EventDispatcher

_TEXTS = ("exception", "traceback")


class Dispatcher(CeleryDispatcher):  # type: ignore[misc]
    """Celery's, which masks what an error says."""

    def send(self, type: str, *args: Any, **fields: Any) -> Any:  # noqa: A002 - Celery's name
        """Send an event, if anybody wants them."""
        groups = self.groups
        if not self.enabled or (groups and "task" not in groups and type.startswith("task-")):
            return None  # as of most workers, who are asked twice a task
        for name in _TEXTS:
            if fields.get(name):
                fields[name] = mask(str(fields[name]))
        return super().send(type, *args, **fields)


class FlaskEvents(CeleryEvents):  # type: ignore[misc]
    """Celery's ``app.events``, made for :class:`~flask_celeriac.celery_app.FlaskCelery`.

    .. versionadded:: 0.1
    """

    dispatcher_cls = Dispatcher
