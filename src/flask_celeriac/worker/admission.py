"""Whether a run that a worker is about to begin may begin, asked in the process that runs it."""

from __future__ import annotations

from typing import Any


def admit(task: Any, request: Any) -> None:
    """Let a run begin, and record that it does.

    :raises celery.exceptions.Ignore: it is not to run; its message is acknowledged
    """
    recorder = getattr(task.app, "recorder", None)
    if recorder is not None and recorder.is_needed:
        recorder.started(request)
