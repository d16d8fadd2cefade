"""An attempt that was cut off by the death of its process is told of in the task's history."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..records.description import CRASHES
from ..urls import records_url

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery

logger = logging.getLogger(__name__)


def note(app: FlaskCelery, request: Any) -> None:
    """Note the run before this one, if it was cut off; before this one is recorded.

    On the embedded broker that is what the header says: a message is also given back by a worker
    that has not begun it. Elsewhere the record says that a worker was at it.
    """
    url = records_url(app)
    if url is None:
        return
    from .. import brief
    from ..records import task_queries

    counted = CRASHES in (request.headers or ())
    embedded = str(app.conf.broker_read_url or "").startswith("celeriac:")
    if embedded and not counted:
        return
    try:
        number = (request.retries or 0) + 1
        brief.write(
            url,
            lambda connection: task_queries.add_lost_attempt(
                connection, request.id, number, certain=counted
            ),
        )
    except Exception as error:  # noqa: BLE001 - a task is worth more than its history
        logger.warning("The lost attempt of task %s is not recorded: %s", request.id, error)
