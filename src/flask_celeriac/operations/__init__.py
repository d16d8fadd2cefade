"""Every verb a person or a program has, once. API, command line and dashboard only call them.

Each takes the application's Celery first, and gives and takes plain data.
"""

from .bulk import VERBS, Outcome, apply_to_each, apply_to_many, count_all, count_allowed
from .listing import Count, Page, count, list_tasks
from .outbox import DeadMessage, discard_dead, list_dead, retry_dead
from .pruning import count_prunable, prune, prune_marks
from .queues import Queue, list_queues, pause, resume
from .results import with_result
from .tasks import (
    attempts,
    discard,
    find,
    is_unknown,
    retry,
    revoke,
    run_at_once,
    send,
    show,
    start,
    workflow,
)
from .waiting import wait
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
    "count_all",
    "count_allowed",
    "count_prunable",
    "discard",
    "discard_dead",
    "find",
    "is_unknown",
    "list_dead",
    "list_queues",
    "list_tasks",
    "list_workers",
    "pause",
    "prune",
    "prune_marks",
    "resume",
    "retry",
    "retry_dead",
    "revoke",
    "run_at_once",
    "send",
    "show",
    "start",
    "wait",
    "why",
    "with_result",
    "workflow",
]
