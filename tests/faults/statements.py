"""A fault at the K-th system call of each statement: what it changes is there as a whole or not.

Where the process is killed, the file has what it had before the step or what it should have after
it. Where a system call fails, a step that is refused has changed nothing and succeeds when it is
taken again; one that leaves may keep its claims until somebody notices that it has left.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from kombu import Connection

from flask_celeriac import sqlite, sqlite_opening
from tests.broker.messages import Receiver
from tests.faults.scenario import NOTHING, Content, as_text, content, live
from tests.faults.tracing import PATIENCE, Fault, Tracer, count, counting
from tests.system.other import Other

#: All that SQLite does with a file, and the doorbells.
KILLED_AT = ("pwrite64", "pread64", "fdatasync", "ftruncate", "fcntl", "openat", "unlink", "sendto")
FAILING = {
    "pwrite64": ("EIO", "ENOSPC"),
    "pread64": ("EIO",),
    "fdatasync": ("EIO", "ENOSPC"),
    "ftruncate": ("EIO",),
    "openat": ("EMFILE",),
}
#: How often a step may be refused before it has to succeed.
REFUSED = 20
#: The steps that take no second try: who leaves has left.
LEAVING = ("leave", "receive_the_rest")
Choose = Callable[[Counter[str]], list[Fault]]
Say = Callable[[str], None]


def kills(counts: Counter[str]) -> list[Fault]:
    """SIGKILL at every call."""
    return [
        Fault(call, "signal=SIGKILL", str(at))
        for call in KILLED_AT
        for at in range(1, counts[call] + 1)
    ]


def errors(counts: Counter[str]) -> list[Fault]:
    """Every call fails, once and a few times in a row."""
    return [
        Fault(call, f"error={error}", f"{at}..{at + more}")
        for call, numbers in FAILING.items()
        for error in numbers
        for more in (0, 3)
        for at in range(1, counts[call] + 1)
    ]


class Run:
    """One process that goes through the scenario, and what was seen of it."""

    def __init__(self, folder: Path, options: tuple[str, ...]) -> None:
        folder.mkdir(parents=True)
        self.path = str(folder / "celeriac.db")
        self.trace = folder / "trace"
        self.other = Other(live, self.path, str(folder / "rehearsal.db"))
        self.options = options
        #: The step that was begun last.
        self.step = ""
        self.survived = False

    def follow(self) -> Iterator[tuple[str, str]]:
        """What the process says, until it has ended or died."""
        with self.other as other:
            assert other.receive(PATIENCE)[0] == "ready"
            tracer = Tracer(other.pid, self.options, self.trace)
            try:
                other.send("go on")
                while (said := other.receive(PATIENCE))[0] != "end":
                    kind, self.step, text = said
                    yield kind, text
                    other.send("go on")
                self.survived = other.join(PATIENCE) == 0
            except (EOFError, ConnectionError):
                pass
        tracer.wait()


class Sweep:
    """What the scenario does without a fault, and what is wrong with one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run = Run(folder / "calls", counting(KILLED_AT))
        said = list(run.follow())
        assert run.survived, said
        self.counts = count(run.trace)
        #: What each step finds in the file, and leaves.
        self.states: dict[str, tuple[Content, Content]] = {}
        before = NOTHING
        for kind, _ in (run := Run(folder / "states", counting(["fdatasync"]))).follow():
            if kind == "begins":
                before = content(run.path)
            else:
                self.states[run.step] = (before, content(run.path))

    def run(self, number: int, fault: Fault) -> Iterator[str]:
        """What is wrong after a fault."""
        run = Run(self.folder / str(number), fault.options)
        refused = 0
        left = False
        for kind, text in run.follow():
            if kind == "refused":
                refused += 1
                if refused > REFUSED:
                    yield f"{run.step} is refused for ever: {text}"
                    break
                left = left or run.step in LEAVING
                if not left:
                    yield from self._look(run, 0, text)
        if not run.survived and "KILL" not in fault.what:
            yield f"it died in {run.step}"
        if not left:
            yield from self._look(run, 1, "at the end")
        yield from _recover(run.path)

    def _look(self, run: Run, latest: int, when: str) -> Iterator[str]:
        """Compare the file with what the last step found and, if ``latest``, should leave."""
        found, states = content(run.path), self.states[run.step][: latest + 1]
        if run.step in LEAVING:  # in several transactions: who has what is in between
            found, *states = (_without_claims(state) for state in (found, *states))
        if found not in states:
            yield f"{run.step} ({when}): the file has {found}"


def _without_claims(state: Content) -> Content:
    return [(body, False) for body, _ in state[0]], state[1]


def _recover(path: str) -> Iterator[str]:
    """Open the file as the next worker does, and receive what is left."""
    left = [body for body, _ in content(path)[0]]
    with Connection(sqlite.url_of(path)) as connection:
        receiver = Receiver(connection, "jobs", handle=lambda message: message.ack())
        receiver.drain(len(left))
        received = [as_text(body) for body in receiver.bodies]
        if received != left:
            yield f"received {received}, there were {left}"
        receiver.close()
    sqlite.file_at(path).close()
    if messages := content(path)[0]:
        yield f"in the end there are {messages}"
    db = sqlite_opening.connect(path)
    if (found := db.pragma("integrity_check")) != "ok":
        yield f"the file: {found}"
    db.close()


def sweep(folder: Path, seed: int, share: float, choose: Choose, say: Say) -> list[str]:
    """A share of the faults, all of them at 1, each on a file of its own; what went wrong."""
    swept = Sweep(folder)
    say(f"calls without a fault: {dict(swept.counts)}")
    every = choose(swept.counts)
    faults = random.Random(seed).sample(every, max(1, min(len(every), round(len(every) * share))))
    wrong = []
    for number, fault in enumerate(faults):
        found = [f"{fault}: {text}" for text in swept.run(number, fault)]
        wrong += found
        for text in found:
            say(text)
        if number % 100 == 99 or number + 1 == len(faults):
            say(f"{number + 1} of {len(faults)}, {len(wrong)} wrong")
    return wrong
