"""What the workers of every system run, and say of it in the ledger."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from tests.system.ledger import Ledger
from tests.system.tasks import LEDGER

#: The numbers of chords' bodies begin here.
BODIES = 1_000_000
#: And those of tasks that end their process.
POISON = 2_000_000


def task_id(seed: int, number: int) -> str:
    return f"fault-{seed}-{number}"


def note(kind: str, number: int) -> None:
    ledger = Ledger(os.environ[LEDGER])
    ledger.write(kind, number)
    ledger.close()


def work(number: int, milliseconds: float, payload: str = "") -> str:
    """Sleep, and return what no other run returns."""
    note("start", number)
    time.sleep(milliseconds / 1000)
    note("end", number)
    return f"{number} {os.getpid()} {time.monotonic_ns()}"


def newer(number: int, milliseconds: float) -> str:
    """A task that an older version of the application does not know."""
    return work(number, milliseconds)


def poison(number: int, milliseconds: float) -> None:
    """End the process that runs it, in one of four ways."""
    note("start", number)
    how = number % 4
    if how == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == 1:
        os._exit(3)
    elif how == 2:
        ctypes.string_at(0)
    else:
        os.kill(os.getpid(), signal.SIGABRT)


def part(number: int, milliseconds: float) -> int:
    """One of a chord's."""
    work(number, milliseconds)
    return number


def body(numbers: list[int], number: int) -> int:
    """What comes after all parts of a chord, whose numbers it is given."""
    note("start", BODIES + number)
    note("end", BODIES + number)
    return sum(numbers)


TASKS: tuple[Callable[..., Any], ...] = (work, poison, part, body)
