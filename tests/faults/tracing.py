"""strace at a process that is running: faults at its system calls, or a count of them."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.system.workers import wait_for

#: prctl(2): let any process of this user trace this one, where that is restricted.
_PR_SET_PTRACER, _PR_SET_PTRACER_ANY = 0x59616D61, -1
#: How long anything here may take on a machine that does other things too.
PATIENCE = 120.0


@dataclass(frozen=True)
class Fault:
    """What happens to which call: ``when`` is 3 for the third, 3..5 for the third to the fifth."""

    call: str
    what: str
    when: str

    @property
    def options(self) -> tuple[str, ...]:
        inject = f"inject={self.call}:{self.what}:when={self.when}"
        return ("-e", f"trace={self.call}", "-e", inject)

    def __str__(self) -> str:
        return f"{self.call} {self.what} when={self.when}"


@cache
def missing() -> str | None:
    """Why system calls cannot be interfered with here, None if they can."""
    if sys.platform != "linux" or not shutil.which("strace"):
        return "not tested: strace is not there, `apt-get install strace` brings it"
    with tempfile.TemporaryFile() as said:
        command = ("strace", "-qq", "-e", "inject=getpid:error=EIO:when=1..2", "true")
        tried = subprocess.run(command, stderr=said, stdout=said, check=False)
        said.seek(0)
        text = said.read().decode()
    return f"not tested: strace may not trace here: {text.strip()}" if tried.returncode else None


def allow() -> None:
    """Let this process be traced by one that is not its parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _PR_SET_PTRACER_ANY, 0, 0, 0)


def counting(calls: Sequence[str]) -> tuple[str, ...]:
    """The options that only note calls; :func:`count` reads them."""
    return ("-e", f"trace={','.join(sorted(set(calls)))}")


def count(trace: Path) -> Counter[str]:
    """How many of each call there were, in the thread that made most, as strace counts them."""
    threads: Counter[tuple[str, str]] = Counter()
    for line in trace.read_text(errors="replace").splitlines():
        if found := re.match(r"(\d+)\s+(\w+)\(", line):
            threads[found[1], found[2]] += 1
    most: Counter[str] = Counter()
    for (_, call), number in threads.items():
        most[call] = max(most[call], number)
    return most


class Tracer:
    """A strace that is at a process, and ends with it."""

    def __init__(self, pid: int, options: Sequence[str], trace: Path) -> None:
        self.pid = pid
        command = ["strace", "-f", "-qq", "-o", str(trace), *options, "-p", str(pid)]
        self._strace = subprocess.Popen(command)
        wait_for(self._is_there, "traced", PATIENCE)

    def _is_there(self) -> bool:
        assert self._strace.poll() is None, "strace ended"
        status = Path(f"/proc/{self.pid}/status").read_text()
        return "TracerPid:\t0\n" not in status

    def wait(self) -> None:
        """Until it has ended, which the end of its process brings about."""
        self._strace.wait(PATIENCE)
