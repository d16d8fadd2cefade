"""Stop the processes of ``flask celery dev`` when it is killed and cannot stop them itself.

Run as a script by path, so that it starts fast and imports nothing of the application. Reads
``+PID`` and ``-PID`` lines, one for each process group that starts or has ended. The end of the
input means that the parent is gone: what is left gets SIGTERM, and soon SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable

GRACE = 2.0


def main(lines: Iterable[str]) -> None:
    """Keep the list, and stop what is on it in the end."""
    assert sys.platform != "win32"  # no process groups there
    groups: set[int] = set()
    for line in lines:
        pid = int(line[1:])
        if line.startswith("+"):
            groups.add(pid)
        else:
            groups.discard(pid)
    # A worker's pool dies of the group's SIGTERM, so only its main process gets one.
    for pid in groups:
        _send(os.kill, pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while any(_send(os.killpg, pid, 0) for pid in groups) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in groups:
        _send(os.killpg, pid, signal.SIGKILL)


def _send(kill: Callable[[int, int], None], pid: int, number: int) -> bool:
    try:
        kill(pid, number)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(sys.stdin)
