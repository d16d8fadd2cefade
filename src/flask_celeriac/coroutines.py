"""Bodies that are coroutines: run to their end, in the thread that asks for it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

import celery
from celery.app import pop_current_task, push_current_task
from celery.exceptions import SoftTimeLimitExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from celery.local import Proxy

R = TypeVar("R")


def waiting(body: Callable[..., Coroutine[Any, Any, R]]) -> Callable[..., R]:
    """A function that runs an ``async def`` body to its end.

    .. versionadded:: 0.1
    """

    @functools.wraps(body)
    def run(*args: Any, **kwargs: Any) -> R:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return _run(body(*args, **kwargs))
        return _run_beside_loop(functools.partial(body, *args, **kwargs))

    return run


def _run(body: Coroutine[Any, Any, R]) -> R:
    """Run in a new loop, which a soft time limit ends wherever its signal meets it.

    What a signal's handler raises in a callback of the loop's own, asyncio hands to the loop's
    exception handler and goes on.
    """
    limits: list[SoftTimeLimitExceeded] = []

    async def limited() -> R:
        current, loop = asyncio.current_task(), asyncio.get_running_loop()

        def handle(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            error = context.get("exception")
            if not isinstance(error, SoftTimeLimitExceeded) or current is None:
                return loop.default_exception_handler(context)
            limits.append(error)
            current.cancel()
            return None

        loop.set_exception_handler(handle)
        return await body

    try:
        return asyncio.run(limited())
    except asyncio.CancelledError:
        if limits:
            raise limits[0] from None
        raise


def _run_beside_loop(body: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Run in a thread of its own, for callers that are themselves run by an event loop."""
    task = cast("Proxy[Any]", celery.current_task)._get_current_object()
    request = task.request_stack.top

    def work() -> R:
        # Celery keeps the running task and its request per thread.
        push_current_task(task)
        task.request_stack.push(request)
        try:
            return asyncio.run(body())
        finally:
            task.request_stack.pop()
            pop_current_task()

    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(contextvars.copy_context().run, work).result()
