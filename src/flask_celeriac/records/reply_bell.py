"""The bell of a thread, which rings when a task has ended that it sent."""

from __future__ import annotations

import errno
import threading
import weakref
from typing import Any

from ..doorbell import AVAILABLE, Bell, bell_name

#: Bells that a process keeps, at most: each is an open file.
MOST = 64

_kept: weakref.WeakSet[Bell] = weakref.WeakSet()


class ReplyBell(threading.local):
    """Where a thread hears of the tasks it sends: each carries its name as ``reply_to``.

    The second wait makes it, and it stays, as to make one for each task takes longer than to read
    its result. It is for the task that was sent last alone: what it rings for, it does not say.

    :param app: the Celery application, which has a name for each of its threads
    :param directory: that of the bells

    .. versionadded:: 0.1
    """

    def __init__(self, app: Any, directory: str) -> None:
        self._app, self._directory = app, directory
        self._bell: Bell | None = None
        self._sent: str | None = None
        self._has_waited = self._is_refused = False

    def note(self, task_id: str) -> None:
        """This thread is about to send a task."""
        self._sent = task_id

    def of(self, task_id: str) -> Bell | None:
        """What rings, or has rung, when a task ends; None if that cannot be relied on.

        Call it once for a task; it has to be waited on before the result is looked for.
        """
        sent, self._sent = self._sent, None
        if sent != task_id:
            return None
        if self._bell is not None and not self._bell.is_inherited:
            return self._bell
        if self._has_waited:  # many threads do so once, each for a request of its own
            self._bell = self._make()
        self._has_waited = True
        return None  # what has rung before it was there, nobody heard

    def _make(self) -> Bell | None:
        if self._is_refused or not AVAILABLE or len(_kept) >= MOST:
            return None
        try:
            bell = Bell(self._directory, bell_name(self._app.thread_oid))
            _kept.add(bell)
            return bell
        except OSError as error:
            # Of a forked process, the parent may have the name.
            self._is_refused = error.errno == errno.EADDRINUSE
            return None
