"""The client's side, in a process of its own; prints one line of JSON.

usage: python -m bench.client describe|enqueue|check|roundtrip APP COUNT
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

#: Calls before anything is timed: the first ones connect, declare and import.
WARM_UP = 20


def describe(celery: Celery[Any], add: Any, count: int) -> dict[str, Any]:
    """What the application is really configured with."""
    conf = celery.conf
    return {"acks_late": conf.task_acks_late, "prefetch": conf.worker_prefetch_multiplier}


def enqueue(celery: Celery[Any], add: Any, count: int) -> dict[str, Any]:
    """Send tasks one by one, and leave their ids for :func:`check`."""
    ids = [add.delay(1, 2).id for _ in range(WARM_UP)]
    cpu, began = time.process_time(), time.perf_counter()
    ids += [add.delay(1, 2).id for _ in range(count)]
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    _ids_file().write_text("\n".join(ids))
    return {"sent": len(ids), "per_second": count / seconds, "cpu_us": cpu / count * 1e6}


def check(celery: Celery[Any], add: Any, count: int) -> dict[str, Any]:
    """Count the sent tasks whose right result is stored; the last may take a moment."""
    missing = _ids_file().read_text().split()
    end = time.monotonic() + 10
    while missing and time.monotonic() < end:
        missing = [
            task_id for task_id in missing if not _is_right(AsyncResult(task_id, app=celery))
        ]
    return {"missing": len(missing)}


def _is_right(result: AsyncResult[Any]) -> bool:
    return bool(result.state == states.SUCCESS and result.result == 3)


def roundtrip(celery: Celery[Any], add: Any, count: int) -> dict[str, Any]:
    """Send a task and get its result, one after the other."""
    for _ in range(min(WARM_UP, count // 5)):
        _time_one(add)
    times = sorted(_time_one(add) for _ in range(count))
    median, p99 = times[len(times) // 2], times[min(len(times) - 1, len(times) * 99 // 100)]
    return {"median_ms": median * 1e3, "p99_ms": p99 * 1e3}


def _time_one(add: Any) -> float:
    began = time.perf_counter()
    add.delay(1, 2).get(timeout=30)
    return time.perf_counter() - began


def _ids_file() -> Path:
    return Path(os.environ["BENCH_MARKS"], "ids")


ACTIONS: dict[str, Callable[[Celery[Any], Any, int], dict[str, Any]]] = {
    "describe": describe,
    "enqueue": enqueue,
    "check": check,
    "roundtrip": roundtrip,
}


def main(action: str, app: str, count: str) -> None:
    """Run an action in the application's context, where it has one."""
    module = importlib.import_module(f"bench.apps.{app}")
    with contextlib.ExitStack() as stack:
        if hasattr(module, "create_app"):
            flask_app = module.create_app()
            stack.enter_context(flask_app.app_context())
            celery = flask_app.extensions["celery"]
        else:
            celery = module.celery
        print(json.dumps(ACTIONS[action](celery, module.add, int(count))))


if __name__ == "__main__":
    main(*sys.argv[1:])
