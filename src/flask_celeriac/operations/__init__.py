"""Every verb a person or a program has, once. API, command line and dashboard only call them.

Each takes the application's Celery first, and gives and takes plain data.
"""

from .bulk import VERBS, Outcome, apply_to_each, apply_to_many, count_allowed
from .listing import Count, Page, count, list_tasks
from .outbox import DeadMessage, discard_dead, list_dead, retry_dead
from .queues import Queue, list_queues, pause, resume
from .tasks import (
    attempts,
    discard,
    is_unknown,
    prune,
    retry,
    revoke,
    show,
    start,
    wait,
    workflow,
)
from .why import Reason, why
from .workers import Worker, list_workers

__all__ = [
    "VERBS",
    "Count",
    "DeadMessage",
    "Outcome",
    "Page",
    "Queue",
    "Reason",
    "Worker",
    "apply_to_each",
    "apply_to_many",
    "attempts",
    "count",
    "count_allowed",
    "discard",
    "discard_dead",
    "is_unknown",
    "list_dead",
    "list_queues",
    "list_tasks",
    "list_workers",
    "pause",
    "prune",
    "resume",
    "retry",
    "retry_dead",
    "revoke",
    "show",
    "start",
    "wait",
    "why",
    "workflow",
]
