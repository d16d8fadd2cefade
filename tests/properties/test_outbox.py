"""Transactions and savepoints in any order: a task is sent if and only if all were committed."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flask_celeriac.outbox.courier import courier
from flask_celeriac.tables import outbox, outbox_metadata
from tests.faults.outbox_app import Shop, orders


class OutboxMachine(RuleBasedStateMachine):
    """One session, against a stack of lists: what was written in each open transaction."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.shop = Shop(f"sqlite:///{self.folder}/app.db", str(self.folder / "instance"))
        outbox_metadata.create_all(self.shop.engine)
        orders.metadata.create_all(self.shop.engine)
        self.shop.celery.connection_for_write().default_channel.close()  # makes the file
        self.levels: list[list[str]] = [[]]
        self.savepoints: list[Any] = []
        self.committed: list[str] = []
        self.number = 0

    @rule()
    def write(self) -> None:
        self.number += 1
        key = str(self.number)
        self.shop.session.execute(sa.insert(orders).values(key=key))
        self.shop.ship.apply_async_on_commit((key,), task_id=key)
        self.levels[-1].append(key)

    @rule()
    def read(self) -> None:
        self.shop.session.execute(sa.select(orders.c.key)).all()

    @precondition(lambda self: len(self.savepoints) < 4)
    @rule(and_write=st.booleans())
    def begin_nested(self, and_write: bool) -> None:
        self.savepoints.append(self.shop.session.begin_nested())
        self.levels.append([])
        if and_write:
            self.write()

    @precondition(lambda self: self.savepoints)
    @rule()
    def release(self) -> None:
        self.savepoints.pop().commit()
        inner = self.levels.pop()
        self.levels[-1] += inner

    @precondition(lambda self: self.savepoints)
    @rule()
    def roll_back_to(self) -> None:
        self.savepoints.pop().rollback()
        self.levels.pop()

    @rule()
    def commit(self) -> None:
        self.shop.session.commit()
        self.committed += sorted((key for level in self.levels for key in level), key=int)
        self._begin()

    @rule(how=st.sampled_from(["rollback", "remove"]))
    def give_up(self, how: str) -> None:
        getattr(self.shop.session, how)()
        self._begin()

    @rule()
    def release_all_and_give_up(self) -> None:
        for savepoint in reversed(self.savepoints):
            savepoint.commit()
        self.give_up("rollback")

    def _begin(self) -> None:
        self.levels, self.savepoints = [[]], []

    @invariant()
    def what_was_committed_was_sent(self) -> None:
        if not hasattr(self, "shop"):
            return
        assert courier.wait(30)
        with self.shop.celery.backend._file.connection() as db:
            rows = db.execute("SELECT task_id FROM message ORDER BY id").fetchall()
        assert [row[0] for row in rows] == self.committed

    def teardown(self) -> None:
        if hasattr(self, "shop"):
            self.shop.session.remove()
            assert courier.wait(30)
            with self.shop.engine.connect() as connection:
                assert connection.execute(sa.select(sa.func.count(outbox.c.id))).scalar() == 0
            self.shop.engine.dispose()
            self.shop.celery.backend._file.close()
            shutil.rmtree(self.folder)


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
