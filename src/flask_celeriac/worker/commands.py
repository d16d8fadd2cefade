"""What workers answer when they are asked through the broker, beside Celery's own commands."""

from __future__ import annotations

import os
import time
from typing import Any

from celery.worker.control import control_command, inspect_command
from celery.worker.state import active_requests

_began = time.monotonic()
_OURS = "flask_celeriac."


@inspect_command()
def celeriac_worker(state: Any) -> dict[str, Any]:
    """Say what this worker is, and what it is at."""
    consumer = state.consumer
    pool = consumer.pool
    # Celery's word for it, also where the pool is ours and a little more than Celery's.
    classes = [each for each in type(pool).__mro__ if not each.__module__.startswith(_OURS)]
    kind = classes[0].__module__.rpartition(".")[2] if pool is not None else None
    return {
        "pid": os.getpid(),
        "pool": kind,
        "concurrency": getattr(pool, "limit", None) or consumer.controller.concurrency,
        "queues": sorted(queue.name for queue in consumer.task_consumer.queues),
        "running": [request.id for request in tuple(active_requests)],
        "tasks": sorted(name for name in state.app.tasks if not name.startswith("celery.")),
        "uptime": time.monotonic() - _began,
    }


@inspect_command()
def celeriac_held(state: Any, task_id: str) -> dict[str, Any]:
    """Say whether this worker has a task that its ``rate_limit`` does not let begin yet."""
    # Celery tells of these neither as reserved nor as active ones.
    buckets = [bucket for bucket in tuple(state.consumer.task_buckets.values()) if bucket]
    held = [request for bucket in buckets for request, _ in tuple(bucket.contents)]
    return {"held": any(request.id == task_id for request in held)}


@control_command()
def celeriac_pauses(state: Any) -> dict[str, Any]:
    """Look which queues are paused."""
    look = getattr(state.consumer.controller, "celeriac_look_at_pauses", None)
    if look is not None:
        look()
    return {"ok": "looked"}
