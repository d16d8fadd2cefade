"""How an application's messages are made, and which connections they take."""

from __future__ import annotations

from typing import Any

from celery.app import amqp
from kombu.utils.objects import cached_property

#: Celery's stubs know only a part of it.
CeleryAMQP: Any = amqp.AMQP


class FlaskAMQP(CeleryAMQP):  # type: ignore[misc]
    """Celery's, made for :class:`~flask_celeriac.celery_app.FlaskCelery`.

    .. versionadded:: 0.1
    """

    @cached_property
    def send_task_message(self) -> Any:
        """What sends a message that was made."""
        send: Any = super().send_task_message
        if not self.app.recorder.is_needed:
            return send

        def send_whole(*args: Any, expiration: Any = None, **options: Any) -> Any:
            # A broker that drops what has expired tells nobody: a worker does, who sees `expires`.
            return send(*args, **options)

        return send_whole
