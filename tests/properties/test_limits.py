"""Keys, slots and rates against a model, beside the queue and with the records; the rates' sums."""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flask_celeriac import Rate, sqlite
from flask_celeriac.broker import limit_queries as embedded
from flask_celeriac.broker import queries
from flask_celeriac.broker.queries import Row
from flask_celeriac.limits import advanced, begin_of
from flask_celeriac.records import limit_queries as recorded
from flask_celeriac.records import write_queries
from flask_celeriac.tables import metadata, slot
from tests.properties.test_queue import new_file

#: Longer than a record may say what it said before.
STEP = recorded.GRACE + 1


@given(
    st.floats(0.01, 1000),
    st.sampled_from("smh"),
    st.integers(1, 5),
    st.lists(st.floats(0, 10), min_size=1, max_size=40),
)
def test_a_rate_is_a_bucket(number: float, unit: str, burst: int, gaps: list[float]) -> None:
    """As if each begin took a token, of which there are ``burst``, and one more each interval."""
    rate = Rate(f"{number:.4f}/{unit}", burst=burst)
    now, kept, tokens = 0.0, None, float(burst)
    begins = []
    for gap in gaps:  # in intervals
        now += gap * rate.interval
        tokens = min(burst, tokens + gap) - 1
        kept = advanced(kept, now, rate.interval)
        begins.append(begin_of(kept, now, rate))
        expected = now + max(0.0, -tokens) * rate.interval
        assert abs(begins[-1] - expected) <= 1e-6 * max(1.0, rate.interval, now)
    for first in range(len(begins) - burst):
        apart = begins[first + burst] - begins[first]
        assert apart >= rate.interval * (1 - 1e-6) - 1e-6 * max(1.0, now)


@functools.cache
def new_records() -> bytes:
    """A database with all tables, as it is made."""
    with tempfile.TemporaryDirectory(prefix="celeriac-limits-") as directory:
        path = os.path.join(directory, "new.db")
        engine = sqlalchemy.create_engine(f"sqlite:///{path}")
        metadata.create_all(engine)
        engine.dispose()
        return Path(path).read_bytes()


@dataclass
class Task:
    """A task as the model has it: waiting while it has no claim."""

    id: str
    row: int
    claim: int | None = None


class LimitMachine(RuleBasedStateMachine):
    """Every rule does the same to both places and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp(prefix="celeriac-limits-")
        path = os.path.join(self.directory, "queue.db")
        Path(path).write_bytes(new_file())
        self.file = sqlite.file_at(path)
        other = os.path.join(self.directory, "records.db")
        Path(other).write_bytes(new_records())
        self.engine = sqlalchemy.create_engine(f"sqlite:///{other}")
        self.now = 1000.0
        self.count = 0
        self.tasks: dict[str, Task] = {}
        self.keys: dict[str, tuple[str, float]] = {}
        #: Tasks in an outbox, of which nobody has heard yet.
        self.unsent: set[str] = set()
        self.slots: dict[str, dict[int, int]] = {}
        self.rates: dict[str, float] = {}

    def teardown(self) -> None:
        self.file.close()
        self.engine.dispose()
        shutil.rmtree(self.directory)

    def record(self, task_id: str, state: str) -> None:
        values = {"task_id": task_id, "state": state, "updated": self.now}
        with self.engine.begin() as connection:
            write_queries.write(connection, values)

    def holder(self, key: str, *, waiting: bool, lasting: bool) -> str | None:
        task_id, until = self.keys.get(key, ("", 0.0))
        task = self.tasks.get(task_id)
        there = task is not None and not (waiting and task.claim is not None)
        kept = until > self.now and (lasting or task_id in self.unsent)
        return task_id if kept or there else None

    @rule(
        key=st.sampled_from("ab"),
        period=st.sampled_from([0.0, 30.0]),
        waiting=st.booleans(),
        lasting=st.booleans(),
    )
    def send(self, key: str, period: float, waiting: bool, lasting: bool) -> None:
        """Send a unique task: under the id of one that may never be sent, if that has the key."""
        self.count += 1
        named: Any = {"waiting": waiting, "lasting": lasting}
        expected = self.holder(key, **named)
        task_id, adopted = f"task-{self.count}", False
        if expected is not None:
            adopted = expected in self.unsent
            assert self.is_pending(key, expected) is adopted
        if adopted:
            assert expected is not None
            task_id, expected = expected, None
        until = self.now + period
        asked: Any = {"key": key, "task_id": task_id, "until": until, "now": self.now, **named}
        asked["adopted"] = adopted
        with self.file.transaction() as db:
            found = embedded.Condition(**asked).check(db)
            if found is None:
                row = Row("jobs", 0, task_id, "task", None, None, self.now, "{}", "")
                queries.put(db, row)
                number = db.last_insert_rowid()
        with self.engine.begin() as connection:
            also = recorded.reserve(connection, **asked)
            if also is None:
                values = {"task_id": task_id, "state": "queued", "updated": self.now}
                write_queries.write(connection, values)
        assert found == also == expected
        if found is None:
            self.tasks[task_id] = Task(task_id, number)
            self.keys[key] = (task_id, until)
            self.unsent.discard(task_id)

    def is_pending(self, key: str, task_id: str) -> bool:
        with self.file.connection() as db:
            found = embedded.is_pending(db, key, task_id)
        with self.engine.connect() as connection:
            assert recorded.is_pending(connection, key, task_id) is found
        return found

    @rule(key=st.sampled_from("ab"), waiting=st.booleans(), lasting=st.booleans())
    def write(self, key: str, waiting: bool, lasting: bool) -> None:
        """Write a unique task into an outbox, and roll back: the key is kept for a while."""
        self.count += 1
        task_id, until = f"task-{self.count}", self.now + 30.0
        named: Any = {"waiting": waiting, "lasting": lasting}
        expected = self.holder(key, **named)
        asked: Any = {"key": key, "task_id": task_id, "until": until, "now": self.now, **named}
        with self.file.transaction() as db:
            found = embedded.reserve(db, **asked, pending=True)
        with self.engine.begin() as connection:
            assert recorded.reserve(connection, **asked, pending=True) == found == expected
        if found is None:
            self.keys[key] = (task_id, until)
            self.unsent.add(task_id)

    @precondition(lambda self: any(task.claim is None for task in self.tasks.values()))
    @rule()
    def claim(self) -> None:
        self.count += 1
        with self.file.transaction() as db:
            (claimed,) = queries.claim(db, "jobs", 1, self.count, 0.0)
        task = next(task for task in self.tasks.values() if task.row == claimed.id)
        task.claim = self.count
        self.record(task.id, "running")
        with self.engine.begin() as connection:  # a run that asks anew has what the last one had
            connection.execute(sqlalchemy.delete(slot).where(slot.c.task_id == task.id))

    def running(self) -> list[Task]:
        return [task for task in self.tasks.values() if task.claim is not None]

    @precondition(lambda self: self.running())
    @rule(data=st.data(), how=st.sampled_from(["ended", "killed"]))
    def end(self, data: st.DataObject, how: str) -> None:
        task = data.draw(st.sampled_from(self.running()))
        assert task.claim is not None
        with self.file.transaction() as db:
            (queries.ack if how == "ended" else queries.release)(db, [(task.row, task.claim)])
            if how == "ended":
                ended = {"task_id": task.id, "state": "succeeded", "updated": self.now}
                write_queries.write_embedded(db, ended)
        self.record(task.id, "succeeded" if how == "ended" else "queued")
        task.claim = None
        if how == "ended":
            del self.tasks[task.id]

    @precondition(lambda self: self.running())
    @rule(data=st.data(), key=st.sampled_from("xy"), at_once=st.integers(1, 3))
    def take(self, data: st.DataObject, key: str, at_once: int) -> None:
        task = data.draw(st.sampled_from(self.running()))
        assert task.claim is not None
        tag = queries.tag_of(task.row, task.claim)
        mine = self.slots.setdefault(key, {})
        claims = {running.claim for running in self.running()} - {task.claim}
        mine = self.slots[key] = {n: claim for n, claim in mine.items() if claim in claims}
        with self.file.transaction() as db:
            run = embedded.Run(task.id, tag)
            found = embedded.take_slot(db, key, at_once, run, self.now, ticket=0)
            assert embedded.slots_taken(db, key) == len(mine) + bool(found.number)
        with self.engine.begin() as connection:
            # As if nothing had been taken just now: that is believed for a while whatever is said.
            other = recorded.Run(task.id, tag)
            also = recorded.take_slot(connection, key, at_once, other, self.now, ticket=0)
        assert found.number == also.number
        assert bool(found.number) == (len(mine) < at_once)
        assert found.number not in mine
        if found.number:
            mine[found.number] = task.claim
        self.now += STEP

    @precondition(lambda self: any(self.slots.values()))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([key for key, mine in self.slots.items() if mine]))
        number, claim = data.draw(st.sampled_from(sorted(self.slots[key].items())))
        holders = [task for task in self.tasks.values() if task.claim == claim]
        if not holders:  # whoever held it has been killed
            return
        tag = queries.tag_of(holders[0].row, claim)
        with self.file.transaction() as db:
            embedded.give_slot_back(db, key, number, tag)
        with self.engine.begin() as connection:
            recorded.give_slot_back(connection, key, number, tag)
        del self.slots[key][number]

    @rule(key=st.sampled_from("rs"), interval=st.sampled_from([1.0, 20.0]))
    def count_begin(self, key: str, interval: float) -> None:
        self.rates[key] = advanced(self.rates.get(key), self.now, interval)
        with self.file.transaction() as db:
            assert embedded.advance(db, key, self.now, interval) == self.rates[key]
        with self.engine.begin() as connection:
            assert recorded.advance(connection, key, self.now, interval) == self.rates[key]

    @rule(seconds=st.sampled_from([1.0, 40.0, 4000.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def forget(self) -> None:
        with self.file.transaction() as db:
            embedded.forget_keys(db, self.now, 100)
            embedded.forget_rates(db, self.now, 100)
            embedded.forget_slots(db, self.now - 3600, 100)
        with self.engine.begin() as connection:
            recorded.forget_keys(connection, self.now, 100)
            recorded.forget_rates(connection, self.now, 100)
            recorded.forget_slots(connection, self.now - 3600, 100)

    @invariant()
    def keys_are_held_by_whom_the_model_says(self) -> None:
        for key, waiting, lasting in itertools.product("ab", (True, False), (True, False)):
            named = {"waiting": waiting, "lasting": lasting}
            expected = self.holder(key, **named)
            with self.file.connection() as db:
                assert embedded.holder(db, key, self.now, **named) == expected
            with self.engine.connect() as connection:
                assert recorded.holder(connection, key, self.now, **named) == expected


TestLimits = LimitMachine.TestCase
TestLimits.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
