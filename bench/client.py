"""The client's side, in a process of its own; prints one line of JSON.

usage: python -m bench.client ACTION APP TASK COUNT
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery, states
from celery.result import AsyncResult

from . import sample, sending


def enqueue(celery: Celery[Any], task: Any, count: int) -> dict[str, Any]:
    """Send tasks one by one, and leave their ids for :func:`check`."""
    return _send(celery, task, count, sending.one_by_one)


def enqueue_many(celery: Celery[Any], task: Any, count: int) -> dict[str, Any]:
    """Send tasks in bulk, and leave ids of some for :func:`check`."""
    return _send(celery, task, count, sending.in_bulk)


def _send(celery: Celery[Any], task: Any, count: int, send: Any) -> dict[str, Any]:
    kept = sample.Sample(count)
    outcome: dict[str, Any] = send(task, count, kept)
    kept.write(_sample_file())
    conf = celery.conf
    configured = {"acks_late": conf.task_acks_late, "prefetch": conf.worker_prefetch_multiplier}
    return {**outcome, **configured}


def enqueue_later(celery: Celery[Any], task: Any, count: int) -> dict[str, Any]:
    """Send tasks that wait."""
    sending.later(task, count)
    return {}


def purge(celery: Celery[Any], task: Any, count: int) -> dict[str, Any]:
    """Empty the queue."""
    return {"purged": celery.control.purge()}


def check(celery: Celery[Any], task: Any, count: int) -> dict[str, Any]:
    """Count the tasks whose right result is not stored; the last may take a moment."""
    missing = looked_up = sample.read(_sample_file())
    end = time.monotonic() + 10
    while missing and time.monotonic() < end:
        missing = [
            (number, task_id)
            for number, task_id in missing
            if not _is_right(AsyncResult(task_id, app=celery), number)
        ]
    return {"missing": len(missing), "checked": len(looked_up)}


def _is_right(result: AsyncResult[Any], number: int) -> bool:
    return bool(result.state == states.SUCCESS and result.result == number + sending.ADDED)


def roundtrip(celery: Celery[Any], task: Any, count: int) -> dict[str, Any]:
    """Send a task and get its result, one after the other."""
    for _ in range(min(sending.WARM_UP, count // 5)):
        _time_one(task, 1)
    times = sorted(_time_one(task, number) for number in range(count))
    median, p99 = times[len(times) // 2], times[min(len(times) - 1, len(times) * 99 // 100)]
    return {"median_ms": median * 1e3, "p99_ms": p99 * 1e3}


def _time_one(task: Any, number: int) -> float:
    began = time.perf_counter()
    result = task.delay(number, sending.ADDED).get(timeout=30)
    seconds = time.perf_counter() - began
    if result != number + sending.ADDED:
        raise AssertionError(f"{number} + {sending.ADDED} came back as {result}")
    return seconds


def _sample_file() -> Path:
    return Path(os.environ["BENCH_MARKS"], "sample")


ACTIONS: dict[str, Callable[[Celery[Any], Any, int], dict[str, Any]]] = {
    action.__name__.replace("_", "-"): action
    for action in (enqueue, enqueue_many, enqueue_later, purge, check, roundtrip)
}


def main(action: str, app: str, task: str, count: str) -> None:
    """Run an action in the application's context, where it has one."""
    module = importlib.import_module(f"bench.apps.{app}")
    with contextlib.ExitStack() as stack:
        if hasattr(module, "create_app"):
            flask_app = module.create_app()
            stack.enter_context(flask_app.app_context())
            celery = flask_app.extensions["celery"]
        else:
            celery = module.celery
        print(json.dumps(ACTIONS[action](celery, getattr(module, task), int(count))))


if __name__ == "__main__":
    main(*sys.argv[1:])
