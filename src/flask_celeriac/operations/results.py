"""What another result backend than ours keeps of a task: read for one task, never for a list."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import patience, states
from ..errors import ResultsDisabledError

if TYPE_CHECKING:
    from ..celery_app import FlaskCelery
    from ..records.task_record import TaskRecord

logger = logging.getLogger(__name__)


def with_result(app: FlaskCelery, task: TaskRecord) -> TaskRecord:
    """A task with its result, or its own word for how far it is, where that is not in its record.

    As it was where its backend does not know, or is out of reach.
    """
    if task.state not in (states.RUNNING, states.SUCCEEDED) or not app.recorder.writes_ends:
        return task
    found = _meta(app, task.id)
    if found is None or states.of_celery(found["status"]) != task.state:
        return task
    if task.state == states.RUNNING:
        return replace(task, status=found["status"])
    return replace(task, result=found["result"])


def _meta(app: FlaskCelery, task_id: str) -> dict[str, Any] | None:
    # Celery's public method may try again for ever. Who has no such method, as results in messages
    # (rpc://), has nothing that can be read twice.
    backend: Any = app.backend
    read = getattr(backend, "_get_task_meta_for", None)
    if read is None:
        return None
    try:
        with patience.short():
            meta: dict[str, Any] = read(task_id)
    except ResultsDisabledError:
        return None
    except Exception as error:  # noqa: BLE001 - a result that cannot be read hides nothing else
        logger.warning("The result of task %s cannot be read just now: %s", task_id, error)
        return None
    return meta
