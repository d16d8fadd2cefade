"""Threads that a process has while there is something for them to do."""

from __future__ import annotations

import threading
from collections.abc import Callable


def start(run: Callable[[], None], name: str) -> threading.Thread | None:
    """A daemon thread that runs a function, None where there can be none.

    So it is once the interpreter ends, and where the system allows no more threads.
    """
    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
