"""The queue against a list: nothing lost, nothing claimed twice, the order kept, claims fenced."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass

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

from flask_celeriac.broker import queries
from flask_celeriac.broker.store import Store

QUEUES = ["jobs", "mail"]
queue_names = st.sampled_from(QUEUES)
owners = st.integers(0, 1)
Claim = tuple[int, int]


@dataclass
class Entry:
    """A message as the model has it."""

    id: int
    body: int
    queue: str
    priority: int
    due: float | None
    claim: int | None = None
    claims: int = 0

    @property
    def ready(self) -> bool:
        return self.claim is None and self.due is None

    @property
    def owner(self) -> int | None:
        return None if self.claim is None else self.claim >> 32


class QueueMachine(RuleBasedStateMachine):
    """Every rule does the same to the file and to a list."""

    held: Bundle[Claim] = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp(prefix="celeriac-queue-")
        store = Store(os.path.join(self.directory, "queue.db"), "normal")
        store.open()
        self.file = store.file
        self.now = 1000.0
        self.count = 0
        self.model: list[Entry] = []
        self.put_count = self.gone_count = 0
        self.owners = [self.new_owner(), self.new_owner()]

    def teardown(self) -> None:
        self.file.close()
        shutil.rmtree(self.directory)

    def new_owner(self) -> int:
        with self.file.transaction() as db:
            return queries.add_process(db, os.getpid(), "lock", 0.0)

    def holding(self, claim: Claim) -> list[Entry]:
        """The entry that a claim still holds, if it does."""
        return [entry for entry in self.model if (entry.id, entry.claim) == claim]

    def expected(self, queue: str, limit: int) -> list[Entry]:
        ready = [entry for entry in self.model if entry.queue == queue and entry.ready]
        return sorted(ready, key=lambda entry: (-entry.priority, entry.body))[:limit]

    def leave(self, entries: list[Entry]) -> None:
        self.gone_count += len(entries)
        self.model = [entry for entry in self.model if entry not in entries]

    @rule(queue=queue_names, priority=st.integers(0, 9), delay=st.none() | st.floats(1.0, 100.0))
    def put(self, queue: str, priority: int, delay: float | None) -> None:
        due = None if delay is None else self.now + delay
        row = queries.Row(
            queue, priority, None, None, due, None, self.now, "{}", str(self.put_count)
        )
        with self.file.transaction() as db:
            queries.put(db, row)
            # A deleted message's number may be given out again; a claim's never is.
            number = db.last_insert_rowid()
        self.model.append(Entry(number, self.put_count, queue, priority, due))
        self.put_count += 1

    @rule(target=held, owner=owners, queue=queue_names, limit=st.integers(1, 5))
    def claim(self, owner: int, queue: str, limit: int) -> MultipleResults[Claim]:
        self.count += 1
        token = queries.claim_token(self.owners[owner], self.count)
        expected = self.expected(queue, limit)
        with self.file.transaction() as db:
            rows = queries.claim(db, queue, limit, token)
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
            assert queries.remove_process(db, dead) == len(mine)
        for entry in mine:
            entry.claim = None
        self.owners[owner] = self.new_owner()
        assert self.owners[owner] > dead, "a dead process's number was given out again"

    @rule(owner=owners)
    def lease_ends(self, owner: int) -> None:
        """Its claims go, and it comes back and claims again."""
        mine = [entry for entry in self.model if entry.owner == self.owners[owner]]
        with self.file.transaction() as db:
            assert queries.release_owner(db, self.owners[owner]) == len(mine)
        for entry in mine:
            entry.claim = None

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
                queries.claim(db, "jobs", 10, queries.claim_token(self.owners[0], 2**31))
                queries.purge(db, "mail")
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
