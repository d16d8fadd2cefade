"""Which queues an application sends to, as far as it says so."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery


def named_queues(celery: Celery[Any]) -> list[str]:
    """The default queue and every queue that a setting or a task names, sorted.

    A queue that is chosen while the program runs, by ``apply_async(queue=...)`` or a router that
    is a function, is not among them, nor are those of tasks whose modules nobody has imported yet.
    """
    celery.finalize()
    conf = celery.conf
    found = {conf.task_default_queue, *celery.amqp.queues}
    for task in celery.tasks.values():
        found.update(_in_route(getattr(task, "queue", None)))
    found.update(_in_routes(conf.task_routes))
    for entry in (conf.beat_schedule or {}).values():
        options = entry.get("options") if isinstance(entry, Mapping) else entry.options
        found.update(_in_route(options))
    return sorted(found)


def _in_routes(routes: Any) -> Iterator[str]:
    """The queues of ``task_routes``: of those that are mappings, or lists of pairs."""
    for route in routes if isinstance(routes, (list, tuple)) else (routes,):
        pairs = route.items() if isinstance(route, Mapping) else route
        if isinstance(pairs, (list, tuple, ItemsView)):
            for _, where in pairs:
                yield from _in_route(where)


def _in_route(route: Any) -> Iterator[str]:
    """The queue of one route: its name, or a mapping with a name or a queue object in it."""
    if isinstance(route, Mapping):
        route = route.get("queue")
    if name := getattr(route, "name", route):
        yield str(name)
