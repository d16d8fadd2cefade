"""A fault at the K-th system call of a process that enqueues five tasks and runs them.

Killed there, or told that the disk failed or is full: whatever K is, no acknowledged task is lost,
the file is whole, and a worker that is started again finishes what is left.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from flask_celeriac import sqlite
from tests.faults.tracing import PATIENCE, Fault, count, counting
from tests.faults.victim import Victim, victim
from tests.system.killing import look_into
from tests.system.ledger import Ledger, Story
from tests.system.tasks import client
from tests.system.workers import wait_for, worker

TASKS = 5
KILLED_AT = ("pwrite64", "fdatasync", "sendto")
FAILING = ("pwrite64", "fdatasync", "ftruncate")
#: How many calls in a row fail: storing a result is tried again up to ten seconds later each time.
LONG = 8


Choose = Callable[[Counter[str], int, int], list[Fault]]


def count_calls(folder: Path) -> Counter[str]:
    """How many of each call there are when nothing is wrong, in the thread that makes most."""
    url = _new(folder)
    with victim(folder, url, TASKS, counting([*KILLED_AT, *FAILING])) as process:
        process.wait_done_or_dead()
        process.stop()
    return count(process.trace)


def kills(counts: Counter[str], seed: int, runs: int) -> list[Fault]:
    """SIGKILL at some calls of each kind; at every one if there are runs enough."""
    return [
        Fault(call, "signal=SIGKILL", str(at))
        for call in KILLED_AT
        for at in chosen(counts[call], seed, runs)
    ]


def errors(counts: Counter[str], seed: int, runs: int) -> list[Fault]:
    """The disk fails, or is full, for a while."""
    return [
        Fault(call, f"error={error}", f"{at}..{at + LONG}")
        for call in FAILING
        for error in ("EIO", "ENOSPC")
        for at in chosen(counts[call], seed, runs)
    ]


def chosen(count: int, seed: int, runs: int) -> list[int]:
    """Some of the numbers from one to ``count``, all of them if there are runs enough."""
    every = range(1, count + 1)
    return sorted(random.Random(seed).sample(every, min(runs, len(every))))


def run(folder: Path, fault: Fault) -> Iterator[str]:
    """What is wrong after a fault."""
    url = _new(folder)
    with victim(folder, url, TASKS, fault.options) as process:
        process.wait_done_or_dead()
        died = not process.alive
        process.stop()
    yield from (f"{fault}: {text}" for text in _wrong(folder, url, process, died=died))


def _wrong(folder: Path, url: str, process: Victim, *, died: bool) -> Iterator[str]:
    path = sqlite.path_of(url)
    with worker(url, "-P", "solo", log=folder / "again.log", ledger=folder / "ledger") as again:

        def finished() -> bool:
            again.check()
            return not process.story().lost and look_into(path)["messages"] == 0

        wait_for(finished, f"finished\n{process.output()}\n{again.output()}", PATIENCE)
    story = Story.read(folder / "ledger")
    yield from _judge(story, died=died)
    found = look_into(path)
    if found["integrity"] != "ok" or found["claimed"]:
        yield f"the file: {found}"
    with client(url) as app:
        for number in story.acked:
            state = app.AsyncResult(f"fault-{number}").state
            if state != "SUCCESS":
                yield f"task {number} is {state}"


def _judge(story: Story, *, died: bool) -> Iterator[str]:
    if story.lost:
        yield f"lost: {story.lost}"
    # The last one before a death may have been put without its sender knowing.
    if len(story.unexpected) > (1 if died else TASKS):
        yield f"unexpected: {story.unexpected}"
    if story.duplicates > 1:
        yield f"{story.duplicates} runs too many"


def _new(folder: Path) -> str:
    folder.mkdir(parents=True)
    Ledger(folder / "ledger").close()
    return sqlite.url_of(str(folder / "celeriac.db"))


def sweep(
    folder: Path,
    seed: int,
    runs: int,
    choose: Choose,
    say: Callable[[str], None],
) -> list[str]:
    """Every chosen fault, each on a file of its own; what went wrong."""
    counts = count_calls(folder / "count")
    say(f"calls without a fault: {dict(counts)}")
    faults = choose(counts, seed, runs)
    wrong = []
    for number, fault in enumerate(faults):
        found = list(run(folder / str(number), fault))
        wrong += found
        say(f"{number + 1}/{len(faults)} {fault}: {'; '.join(found) or 'nothing lost'}")
    return wrong
