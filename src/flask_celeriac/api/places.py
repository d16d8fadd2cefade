"""Views: queues and workers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from .. import operations
from ..records.task_record import iso
from .answers import Answer

if TYPE_CHECKING:
    from .context import Api


def list_queues(api: Api) -> Answer:
    """The queues that a setting or a task names, that hold tasks or are paused."""
    queues = operations.list_queues(api.celery)
    return Answer({"queues": [{**asdict(q), "paused_since": iso(q.paused_since)} for q in queues]})


def pause(api: Api, name: str) -> Answer:
    """Let no task of a queue be begun, until it is resumed."""
    if operations.pause(api.celery, name, actor=api.actor):
        api.audit("pause", name)
    return Answer(status=204)


def resume(api: Api, name: str) -> Answer:
    """Let the tasks of a queue be begun again."""
    if operations.resume(api.celery, name):
        api.audit("resume", name)
    return Answer(status=204)


def list_workers(api: Api) -> Answer:
    """The workers that answer within a second, and what they run."""
    return Answer({"workers": [asdict(each) for each in operations.list_workers(api.celery)]})
