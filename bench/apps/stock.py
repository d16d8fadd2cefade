"""Celery without this project, on the broker and result backend it is told."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from bench import marks

celery: Celery[Any] = Celery(
    "bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BACKEND"]
)


@celery.task
def add(x: int, y: int) -> int:
    """Do next to nothing, so that what is measured is the machinery."""
    marks.tick(x)
    return x + y


@celery.task(ignore_result=True)
def add_unrecorded(x: int, y: int) -> int:
    """Do the same, the result being thrown away."""
    marks.tick(x)
    return x + y
