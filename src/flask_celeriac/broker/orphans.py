"""Pool processes end with their worker.

When a prefork worker's main process is killed, its pool processes stay, each holding the other's
pipe open, and finish what they run while the task is already running again elsewhere. A task
then has one run at a time only if they go too.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from billiard import current_process
from celery.signals import worker_process_init

#: prctl(2): the signal this process gets when its parent dies.
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """From now on, pool processes forked by this one are killed by the kernel when it dies."""
    worker_process_init.connect(_end_with_parent, weak=False, dispatch_uid="celeriac-orphans")


def _end_with_parent(**_: Any) -> None:
    # A solo pool sends the signal too, in the worker itself: that may outlive the shell it is
    # started from.
    if sys.platform != "linux" or current_process().name == "MainProcess":
        return
    import ctypes

    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died in between
        os.kill(os.getpid(), signal.SIGKILL)
