"""The queue against a list: nothing lost, nothing claimed twice, the order kept, claims fenced."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
)

from flask_celeriac import sqlite
from flask_celeriac.broker import process_queries, queries
from flask_celeriac.broker.queries import Row
from flask_celeriac.broker.store import Store
from flask_celeriac.database import engine_for
from flask_celeriac.records import write_queries

QUEUES = ["jobs", "mail"]
queue_names = st.sampled_from(QUEUES)
owners = st.integers(0, 1)
delays = st.none() | st.floats(1.0, 100.0)
Claim = tuple[int, int]
LEASE = 60.0


@dataclass
class Entry:
    """A message as the model has it."""

    id: int
    body: int
    queue: str
    priority: int
    due: float | None
    expires: float | None
    claim: int | None = None
    claims: int = 0

    @property
    def ready(self) -> bool:
        return self.claim is None and self.due is None

    @property
    def owner(self) -> int | None:
        return None if self.claim is None else self.claim >> queries.CLAIM_BITS


@functools.cache
def new_file() -> bytes:
    """A file with all tables, as it is made."""
    with tempfile.TemporaryDirectory(prefix="celeriac-queue-") as directory:
        store = Store(os.path.join(directory, "new.db"), "normal")
        store.open()
        engine_for(sqlite.url_of(store.path)).dispose()
        store.file.close()
        return Path(store.path).read_bytes()


def success(number: int) -> dict[str, Any]:
    """The record of a task that succeeded."""
    return {"task_id": str(number), "state": "succeeded", "status": "SUCCESS", "updated": 0.0}


class QueueMachine(RuleBasedStateMachine):
    """Every rule does the same to the file and to a list."""

    held: Bundle[Claim] = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp(prefix="celeriac-queue-")
        path = os.path.join(self.directory, "queue.db")
        Path(path).write_bytes(new_file())
        self.file = sqlite.file_at(path)
        self.now = 1000.0
        #: The clock of the leases.
        self.uptime = 0.0
        self.leases: dict[int, float] = {}
        #: Which messages have a result, and how often it was written.
        self.results: Counter[int] = Counter()
        self.count = 0
        self.model: list[Entry] = []
        self.put_count = self.gone_count = 0
        self.owners = [self.new_owner(), self.new_owner()]

    def teardown(self) -> None:
        self.file.close()
        shutil.rmtree(self.directory)

    def new_owner(self) -> int:
        with self.file.transaction() as db:
            owner = process_queries.add_process(db, os.getpid(), "lock", self.uptime + LEASE)
        self.leases[owner] = self.uptime + LEASE
        return owner

    def holding(self, claim: Claim) -> list[Entry]:
        """The entry that a claim still holds, if it does."""
        return [entry for entry in self.model if (entry.id, entry.claim) == claim]

    def expected(self, queue: str, limit: int) -> list[Entry]:
        ready = [entry for entry in self.model if entry.queue == queue and entry.ready]
        return sorted(ready, key=lambda entry: (-entry.priority, entry.body))[:limit]

    def leave(self, entries: list[Entry]) -> None:
        self.gone_count += len(entries)
        self.model = [entry for entry in self.model if entry not in entries]

    def row(self, queue: str, priority: int, due: float | None, expires: float | None) -> Row:
        """A row to put, which is in the model already."""
        self.model.append(Entry(0, self.put_count, queue, priority, due, expires))
        body = str(self.put_count)
        self.put_count += 1
        return Row(queue, priority, None, None, due, expires, self.now, "{}", body)

    @rule(queue=queue_names, priority=st.integers(0, 9), delay=delays, ttl=delays)
    def put(self, queue: str, priority: int, delay: float | None, ttl: float | None) -> None:
        due, expires = (None if time is None else self.now + time for time in (delay, ttl))
        row = self.row(queue, priority, due, expires)
        with self.file.transaction() as db:
            queries.put(db, row)
            # A deleted message's number may be given out again; a claim's never is.
            self.model[-1].id = db.last_insert_rowid()

    @rule(queue=queue_names, priorities=st.lists(st.integers(0, 9), max_size=4))
    def put_many(self, queue: str, priorities: list[int]) -> None:
        rows = [self.row(queue, priority, None, None) for priority in priorities]
        with self.file.transaction() as db:
            queries.put_many(db, rows)
            found = db.execute("SELECT id, body FROM message").fetchall()
        ids = {int(body): number for number, body in found}
        for entry in self.model[len(self.model) - len(rows) :]:
            entry.id = ids[entry.body]

    @rule(target=held, owner=owners, queue=queue_names, limit=st.integers(1, 5))
    def claim(self, owner: int, queue: str, limit: int) -> MultipleResults[Claim]:
        self.count += 1
        token = queries.claim_token(self.owners[owner], self.count)
        expected = self.expected(queue, limit)
        with self.file.transaction() as db:
            rows = queries.claim(db, queue, limit, token, self.now)
        for entry in expected:
            entry.claim = token
            entry.claims += 1
        assert [(row.id, row.body, row.claims) for row in rows] == [
            (entry.id, str(entry.body), entry.claims) for entry in expected
        ]
        return multiple(*[(row.id, token) for row in rows])

    @rule(claims=st.lists(held, max_size=4))
    def ack(self, claims: list[Claim]) -> None:
        """Also with claims that were acked, released or taken away before."""
        with self.file.transaction() as db:
            queries.ack(db, claims)
        for claim in claims:
            self.leave(self.holding(claim))

    @rule(claims=st.lists(held, max_size=4, unique=True))
    def finish(self, claims: list[Claim]) -> None:
        """Results and acknowledgements in one transaction; those of stale claims do nothing."""
        holding = {claim: self.holding(claim) for claim in claims}
        with self.file.transaction() as db:
            for claim, entries in holding.items():
                body = entries[0].body if entries else -1
                assert write_queries.write_embedded(db, success(body), claim, 1000) == bool(entries)
            queries.ack(db, claims)
        for entries in holding.values():
            self.results.update(entry.body for entry in entries)
            self.leave(entries)

    @rule(claims=st.lists(held, max_size=4))
    def give_back(self, claims: list[Claim]) -> None:
        """What was claimed ahead and seen by nobody: as if it had not been claimed."""
        with self.file.transaction() as db:
            queries.give_back(db, claims)
        for claim in claims:
            for entry in self.holding(claim):
                entry.claim = None
                entry.claims -= 1

    @rule(claims=st.lists(held, max_size=4))
    def release(self, claims: list[Claim]) -> None:
        with self.file.transaction() as db:
            queries.release(db, claims)
        for claim in claims:
            for entry in self.holding(claim):
                entry.claim = None

    @rule(queue=queue_names, limit=st.integers(1, 3))
    def take(self, queue: str, limit: int) -> None:
        """What a consumer does that does not acknowledge."""
        expected = self.expected(queue, limit)
        with self.file.transaction() as db:
            rows = queries.take(db, queue, limit)
        assert [row.body for row in rows] == [str(entry.body) for entry in expected]
        self.leave(expected)

    @rule(owner=owners)
    def owner_dies(self, owner: int) -> None:
        dead = self.owners[owner]
        mine = [entry for entry in self.model if entry.owner == dead]
        with self.file.transaction() as db:
            assert process_queries.remove_process(db, dead) == len(mine)
        for entry in mine:
            entry.claim = None
        self.owners[owner] = self.new_owner()
        assert self.owners[owner] > dead, "a dead process's number was given out again"

    @rule(owner=owners, seconds=st.floats(0.0, LEASE * 2))
    def look_at_leases(self, owner: int, seconds: float) -> None:
        """The claims go of whoever has not renewed its lease; it may come back and claim again."""
        self.uptime += seconds
        process = self.owners[owner]
        is_over = self.leases[process] < self.uptime
        mine = [entry for entry in self.model if is_over and entry.owner == process]
        with self.file.transaction() as db:
            assert queries.release_overdue(db, process, self.uptime) == len(mine)
        for entry in mine:
            entry.claim = None

    @rule(owner=owners)
    def renew(self, owner: int) -> None:
        self.leases[self.owners[owner]] = self.uptime + LEASE
        with self.file.transaction() as db:
            process_queries.renew(db, self.owners[owner], self.uptime + LEASE)

    @rule()
    def expire(self) -> None:
        """What is past its queue's time limit goes, unless somebody has it."""
        with self.file.transaction() as db:
            queries.expire(db, self.now)
        self.leave(
            [
                entry
                for entry in self.model
                if entry.claim is None and entry.expires is not None and entry.expires <= self.now
            ]
        )

    @rule(seconds=st.floats(0.0, 60.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        due = [entry for entry in self.model if entry.due is not None and entry.due <= self.now]
        with self.file.transaction() as db:
            assert queries.promote(db, self.now) == len(due)
        for entry in due:
            entry.due = None

    @rule(queue=queue_names)
    def purge(self, queue: str) -> None:
        unclaimed = [e for e in self.model if e.queue == queue and e.claim is None]
        with self.file.transaction() as db:
            assert queries.purge(db, queue) == len(unclaimed)
        self.leave(unclaimed)

    @rule()
    def fail_in_the_middle(self) -> None:
        """A transaction that does not end changes nothing."""
        try:
            with self.file.transaction() as db:
                queries.claim(db, "jobs", 10, queries.claim_token(self.owners[0], 2**31), self.now)
                queries.purge(db, "mail")
                queries.put(db, Row("jobs", 0, None, None, None, None, self.now, "{}", "never"))
                raise KeyError
        except KeyError:
            pass

    @invariant()
    def nothing_is_lost(self) -> None:
        with self.file.connection() as db:
            rows = db.execute(
                "SELECT id, queue, priority, due, claim, claims FROM message ORDER BY id"
            ).fetchall()
        assert rows == [
            (e.id, e.queue, e.priority, e.due, e.claim, e.claims)
            for e in sorted(self.model, key=lambda entry: entry.id)
        ]
        assert self.put_count == self.gone_count + len(self.model)

    @invariant()
    def every_result_was_written_once_by_who_held_the_claim(self) -> None:
        with self.file.connection() as db:
            stored = db.execute("SELECT task_id FROM celeriac_record").fetchall()
        assert sorted(int(task_id) for (task_id,) in stored) == sorted(self.results)
        assert all(times == 1 for times in self.results.values())

    @invariant()
    def sizes_and_times_agree(self) -> None:
        with self.file.connection() as db:
            for queue in QUEUES:
                ready = len(self.expected(queue, len(self.model)))
                assert queries.size(db, queue) == ready
                assert queries.any_ready(db, queue) == bool(ready)
            waiting = [entry.due for entry in self.model if entry.due is not None]
            assert queries.next_due(db) == min(waiting, default=None)


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(
    max_examples=50,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
