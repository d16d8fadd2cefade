"""What workers answer when they are asked through the broker, beside Celery's own commands."""

from __future__ import annotations

import os
import time
from typing import Any

from celery.worker.control import control_command, inspect_command
from celery.worker.state import active_requests, requests

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
    """Say what keeps this worker from beginning a task that it has; None where nothing does.

    ``rate_limit``, or ``prefetch``: it has taken more than it runs.
    """
    # Celery tells of these neither as reserved nor as active ones.
    buckets = [bucket for bucket in tuple(state.consumer.task_buckets.values()) if bucket]
    held = [request for bucket in buckets for request, _ in tuple(bucket.contents)]
    if any(request.id == task_id for request in held):
        return {"held": "rate_limit"}
    return {"held": "prefetch" if _waits(state.consumer.pool, requests.get(task_id)) else None}


def _waits(pool: Any, request: Any) -> bool:
    """Whether a task that was taken is not begun, and would not be if it were revoked now."""
    if request is None or request.time_start is not None:
        return False
    # What a pool of processes has been given is begun there; one of threads looks once more.
    return not pool.uses_semaphore or request._apply_result is None


@control_command()
def celeriac_pauses(state: Any) -> dict[str, Any]:
    """Look which queues are paused."""
    look = getattr(state.consumer.controller, "celeriac_look_at_pauses", None)
    if look is not None:
        look()
    return {"ok": "looked"}
