"""Which queues an application sends to, as far as it says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery


def named_queues(celery: Celery[Any]) -> list[str]:
    """The default queue and every queue that a setting or a task names, sorted.

    A queue that is chosen while the program runs, by ``apply_async(queue=...)`` or a router that
    is a function, is not among them.
    """
    celery.loader.import_default_modules()
    celery.finalize()
    conf = celery.conf
    found = {conf.task_default_queue, *celery.amqp.queues}
    for task in celery.tasks.values():
        found.update(_in_route(getattr(task, "queue", None)))
    found.update(_in_routes(conf.task_routes))
    for entry in (conf.beat_schedule or {}).values():
        found.update(_in_route(entry.get("options")))
    return sorted(found)


def _in_routes(routes: Any) -> Iterator[str]:
    """The queues of ``task_routes``: a mapping, or a list of mappings, pairs and routers."""
    if isinstance(routes, Mapping):
        for route in routes.values():
            yield from _in_route(route)
    elif isinstance(routes, (list, tuple)):
        pair = len(routes) == 2 and isinstance(routes[0], str)
        for item in [routes[1]] if pair else routes:
            yield from _in_route(item) if pair else _in_routes(item)


def _in_route(route: Any) -> Iterator[str]:
    """The queue of one route: its name, or a mapping with a name or a queue object in it."""
    if isinstance(route, Mapping):
        route = route.get("queue")
    if name := getattr(route, "name", route):
        yield str(name)
