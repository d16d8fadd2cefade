"""Recipes that are a function of their own: ``run(folder, seed, scale, say)``, what went wrong."""

from __future__ import annotations

import importlib
import importlib.util
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import seed as reproduce
from hypothesis.stateful import run_state_machine_as_test

from tests.faults import statements as each
from tests.faults import stops, sweep, tracing
from tests.faults.hammer import hammer
from tests.faults.harness.checker import Cell
from tests.faults.opening import measure
from tests.properties.test_queue import QueueMachine

Say = Callable[[str], None]
Run = Callable[[Path, int, float, Say], list[str]]
#: Runs for each system call at scale 1: every one.
RUNS = 400
MESSAGES = 60_000
EXAMPLES = 1_000
#: How recipes say that they put one more fault, or some.
ONE = re.compile(r"\d+/\d+ |.*\([\d.]+ s\)$")
SOME = re.compile(
    r"\w+: (\d+) cells|(\d+)/\2 messages|\d+ transactions, (\d+) processes ended"
    r"|(\d+) of \4, \d+ wrong|\w+, seed \d+: .* (\d+) kills? while a task ran"
)
MESSAGES_MORE = re.compile(r"\d+/\d+ messages")
NOT_TESTED = "not tested"


def kill(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """SIGKILL at a system call."""
    return _sweep(folder, seed, scale, say, sweep.kills)


def errors(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """EIO and ENOSPC for a while, from a system call on."""
    return _sweep(folder, seed, scale / 10, say, sweep.errors)


def _sweep(folder: Path, seed: int, scale: float, say: Say, choose: sweep.Choose) -> list[str]:
    if reason := tracing.missing():
        return [reason]
    return sweep.sweep(folder, seed, max(1, round(RUNS * scale)), choose, say)


def statements(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """SIGKILL, and then errors, at every system call of every statement."""
    if reason := tracing.missing():
        return [reason]
    wrong = []
    for choose in (each.kills, each.errors):
        wrong += each.sweep(folder / choose.__name__, seed, scale, choose, say)
    return wrong


def stop(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """Warm, cold and soft shutdowns of each pool, in the middle of short tasks."""
    return stops.sweep(folder, seed, stops.EVERY, max(1, round(5 * scale)), say)


def queue(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """Hypothesis looks for an order of calls that a list would not take."""
    chosen = settings(
        max_examples=max(1, round(EXAMPLES * scale)),
        stateful_step_count=80,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    try:
        run_state_machine_as_test(reproduce(seed)(QueueMachine), settings=chosen)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
        return ["".join(traceback.format_exception(error))]
    return []


def pound(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """Eight processes at one file."""
    return hammer(folder, round(MESSAGES * scale), say)


def opening(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """How long opening takes; a figure only."""
    return measure(folder, max(5, round(50 * scale)), say)


def elsewhere(module: str) -> Run:
    """The ``run`` of a module beside this folder, which may not be there."""

    def run(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
        name = f"tests.faults.{module}"
        if importlib.util.find_spec(name) is None:
            return [f"{NOT_TESTED}: {module} is not there"]
        folder.mkdir(parents=True, exist_ok=True)
        found: list[str] = importlib.import_module(name).run(folder, seed, scale, say)
        return found

    return run


def counted(text: str) -> int:
    """How many faults a line tells of."""
    if some := SOME.match(text):
        return int(next(number for number in some.groups() if number is not None))
    return int(bool(ONE.match(text)) and not MESSAGES_MORE.match(text))


@dataclass(frozen=True)
class Module:
    """A row of the matrix that is one function.

    :param number: as on the command line.
    :param system: what it is put to.
    """

    number: str
    title: str
    system: str
    run: Run

    def cell(self, folder: Path, seed: int, scale: float, say: Say) -> Cell:
        cell = Cell(f"{self.number} {self.title}", self.system, ours=True, seed=seed, plain=True)
        begun = time.monotonic()

        def counting(text: str) -> None:
            cell.injections += counted(text)
            say(text)

        try:
            found = self.run(folder, seed, scale, counting)
        except Exception as error:  # noqa: BLE001 - the others are still to run
            found = ["".join(traceback.format_exception(error))]
        reasons = [text for text in found if text.startswith(NOT_TESTED)]
        cell.wrong = [text for text in found if text not in reasons]
        if reasons and not cell.wrong:
            cell.not_tested = reasons[0].removeprefix(f"{NOT_TESTED}: ")
        cell.seconds = time.monotonic() - begun
        return cell


MODULES = (
    Module("T4", "SIGKILL at each system call", "embedded", kill),
    Module("T4", "SIGKILL and errors in each statement", "embedded", statements),
    Module("T5", "EIO and ENOSPC at system calls", "embedded", errors),
    Module("T1", "SIGKILL to workers of each pool", "redis", elsewhere("redis_kills")),
    Module("T13", "the outbox, killed at each step", "all", elsewhere("outbox_matrix")),
    Module("T16", "eight processes at one file", "embedded", pound),
    Module("T21", "workers that are stopped", "embedded", stop),
    Module("T21", "workers that are stopped", "all", elsewhere("shutdown_matrix")),
    Module("T24", "messages made of garbage", "all", elsewhere("garbage")),
)
#: What these were called before they had numbers, and what has none.
BY_NAME = {
    "kill": MODULES[0],
    "errors": MODULES[2],
    "statements": MODULES[1],
    "stop": Module("stop", "workers that are stopped", "embedded", stop),
    "queue": Module("queue", "any order of calls", "embedded", queue),
    "hammer": MODULES[5],
    "open": Module("open", "how long opening takes", "embedded", opening),
}
