from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.beat import ScheduleEntry
from kombu import Queue

from flask_celeriac.queue_names import named_queues


def app(**conf: Any) -> Celery[Any]:
    celery: Celery[Any] = Celery("queues", set_as_current=False, broker="memory://")
    celery.conf.update(conf)
    return celery


def test_without_settings_it_is_the_default_queue() -> None:
    assert named_queues(app()) == ["celery"]
    assert named_queues(app(task_default_queue="shop")) == ["shop"]


def test_tasks_name_queues() -> None:
    celery = app()

    @celery.task(shared=False)
    def send() -> None: ...

    setattr(send, "queue", "mail")  # noqa: B010 - the stub does not know it
    assert named_queues(celery) == ["celery", "mail"]


def test_configured_queues_count() -> None:
    assert named_queues(app(task_queues=[Queue("slow")])) == ["celery", "slow"]


@pytest.mark.parametrize(
    "routes",
    [
        {"a.*": {"queue": "fast"}},
        {"a.*": "fast"},
        {"a.*": {"queue": Queue("fast")}, "b": {"routing_key": "b"}},
        ({"a": {"queue": "fast"}}, lambda name, *args, **kwargs: {"queue": "unseen"}),
        ([("a.*", {"queue": "fast"})],),
        ["proj.routers.a", {"a": {"queue": "fast"}}],
        ["proj.routers.a", "proj.routers.b", [("a", "fast")]],
    ],
)
def test_routes_name_queues(routes: Any) -> None:
    assert named_queues(app(task_routes=routes)) == ["celery", "fast"]


def test_beat_entries_name_queues() -> None:
    entries = {
        "one": {"task": "a", "schedule": 1, "options": {"queue": "night"}},
        "two": {"task": "a", "schedule": 1},
        "three": ScheduleEntry("three", "a", schedule=1, options={"queue": "night"}),
    }
    assert named_queues(app(beat_schedule=entries)) == ["celery", "night"]
