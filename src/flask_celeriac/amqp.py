"""How an application's messages are made, and which connections they take."""

from __future__ import annotations

from typing import Any

from celery.app import amqp

#: Celery's stubs know only a part of it.
CeleryAMQP: Any = amqp.AMQP


class FlaskAMQP(CeleryAMQP):  # type: ignore[misc]
    """Celery's, made for :class:`~flask_celeriac.celery_app.FlaskCelery`.

    .. versionadded:: 0.1
    """
