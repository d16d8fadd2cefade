"""How a run ended is recorded, also where Celery tells that to no backend of ours."""

from __future__ import annotations

from typing import Any

from celery import bootsteps, signals

from .. import states


class Ends(bootsteps.Step):
    """Worker step that listens for the ends of runs that nobody else records.

    .. versionadded:: 0.1
    """

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        listen(worker.app)


def listen(app: Any) -> None:
    """Record the ends of an application's tasks in this process, if its backend does not.

    It is not told of attempts to be repeated of tasks whose result nobody wants.
    """
    recorder = getattr(app, "recorder", None)
    if recorder is None:
        return
    signals.task_retry.connect(_on_retry, dispatch_uid=f"{__name__} retry")
    if not recorder.writes_ends:
        return
    signals.task_success.connect(_on_success, dispatch_uid=f"{__name__} success")
    signals.task_failure.connect(_on_failure, dispatch_uid=f"{__name__} failure")
    signals.task_revoked.connect(_on_revoked, dispatch_uid=f"{__name__} revoked")


def _on_success(sender: Any, **_: Any) -> None:
    _write(sender, sender.request, sender.request.id, states.SUCCEEDED)


def _on_failure(sender: Any, task_id: str, exception: Any, einfo: Any = None, **_: Any) -> None:
    request = sender.request if sender.request.id == task_id else None
    traceback = getattr(einfo, "traceback", None)
    _write(sender, request, task_id, states.FAILED, exception, traceback)


def _on_retry(sender: Any, request: Any, reason: Any, einfo: Any = None, **_: Any) -> None:
    error = getattr(reason, "exc", None) or reason
    traceback = getattr(einfo, "traceback", None)
    _write(sender, request, request.id, states.RETRYING, error, traceback)
    own = request.ignore_result
    is_ignored = sender.ignore_result if own is None else own
    note = getattr(sender.backend, "note_retry", None)  # ours has it
    if note is not None and is_ignored and not sender.store_errors_even_if_ignored:
        note(request, error, traceback)


def _on_revoked(sender: Any, request: Any, expired: bool, **_: Any) -> None:
    _write(sender, request, request.id, states.EXPIRED if expired else states.REVOKED)


def _write(  # noqa: PLR0917 - one for all four
    task: Any, request: Any, task_id: str, state: str, error: Any = None, traceback: Any = None
) -> None:
    recorder = getattr(task.app, "recorder", None)
    if recorder is not None and recorder.writes_ends and not getattr(request, "is_eager", False):
        recorder.ended(task_id, request, state, error, traceback)
