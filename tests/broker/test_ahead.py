"""What a worker's event loop claims ahead: many a transaction, and none held for long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from celery.worker import state
from kombu import Message

from flask_celeriac import liveness, sqlite, sqlite_opening
from flask_celeriac.backlog import backlog_at
from flask_celeriac.broker import (
    claims,
    guard,
    membership,
    process_queries,
    queries,
    transport,
)
from flask_celeriac.broker.claims import BATCH
from flask_celeriac.errors import StorageError
from tests.broker.conftest import Connect
from tests.broker.loops import Loop
from tests.broker.messages import Receiver, put, size
from tests.system.workers import wait_for

MANY = 600


@contextmanager
def counted(path: str) -> Iterator[list[str]]:
    """The statements of this process's pooled connection."""
    statements: list[str] = []

    def note(_: object, sql: str, __: object) -> bool:
        statements.append(sql)
        return True

    file = sqlite.file_at(path)
    with file.connection() as db:
        db.exec_trace = note
    try:
        yield statements
    finally:
        with file.connection() as db:
            db.exec_trace = None


def test_short_messages_share_transactions(
    connect: Connect, path: str, loop: Callable[..., Loop]
) -> None:
    put(connect(), *range(MANY))
    worker = loop(Message.ack)
    with counted(path) as statements:
        worker.until(lambda: size_in(path) == 0)
    assert worker.receiver.bodies == list(range(MANY))
    # One transaction each at first, until it is known how short they are; a busy machine makes
    # them longer now and then.
    assert statements.count("BEGIN IMMEDIATE") < MANY / 2


def transactions_of(statements: list[str]) -> list[str]:
    return [part.split("COMMIT")[0] for part in " ".join(statements).split("BEGIN")[1:]]


def test_acks_share_the_transaction_of_the_next_claim(
    connect: Connect, path: str, loop: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HOLD", 60.0)
    monkeypatch.setattr(guard, "PATIENCE", 1.0)  # a busy machine is no long task
    put(connect(), *range(6 * BATCH))
    running: list[Message] = []
    worker = loop(running.append, prefetch=2)  # as in a pool, tasks end later than they begin

    worker.hub.call_repeatedly(0.001, lambda: running and running.pop(0).ack())
    with counted(path) as statements:
        worker.until(lambda: size_in(path) == 0)
    assert len(alone_in(statements)) <= 3  # the last ones, after which nothing is left to claim


def alone_in(statements: list[str]) -> list[str]:
    """The transactions that acknowledge and claim nothing."""
    return [
        part
        for part in transactions_of(statements)
        if "DELETE FROM message WHERE id = ?" in part and "UPDATE message SET claim" not in part
    ]


def test_an_ack_shares_the_transaction_of_a_call_that_follows_at_once(
    connect: Connect, path: str, loop: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HOLD", 60.0)
    monkeypatch.setattr(claims, "LINGER", 60.0)
    monkeypatch.setattr(guard, "PATIENCE", 1.0)
    seen: list[Any] = []
    worker: Loop

    def handle(message: Message) -> None:
        seen.append(message.payload)
        worker.hub.call_soon(message.ack)

    worker = loop(handle, prefetch=2)
    worker.hub.call_repeatedly(0.001, lambda: None)
    sender = connect()
    with counted(path) as statements:
        for number in range(5):
            put(sender, number)
            worker.until(lambda number=number: number in seen)
    assert alone_in(statements) == []


def test_acks_that_wait_for_a_claim_are_written_while_a_long_task_runs(
    connect: Connect, path: str, loop: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HOLD", 60.0)
    put(connect(), *range(BATCH + 5))
    running: list[Message] = []
    worker = loop(running.append, prefetch=2)

    def only_long_ones_run() -> bool:
        short = [message for message in running if message.payload not in (BATCH - 2, BATCH - 1)]
        for message in short:
            running.remove(message)
            message.ack()
        return len(running) == 2

    worker.until(only_long_ones_run)
    wait_for(lambda: size_in(path) == 7, "the ends of the short ones to be written")


def test_a_ring_is_answered_in_one_transaction(
    connect: Connect, path: str, loop: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "FALLBACK", 60.0)  # nothing but the bell says so
    seen: list[Any] = []
    worker = loop(lambda message: seen.append(message.payload), prefetch=2)
    worker.hub.call_repeatedly(0.01, lambda: None)
    control = Receiver(worker.receiver.connection, "control", no_ack=True)
    put(connect(), "first")
    worker.until(lambda: seen)
    worker.receiver.messages[0].ack()
    worker.until(lambda: size_in(path) == 0)
    put(connect(), "second", declare=[])
    with counted(path) as statements:
        worker.until(lambda: len(seen) == 2)
    transactions = transactions_of(statements)
    assert len(transactions) == 1, transactions
    assert statements.count("COMMIT") == 1
    # Commands first, then tasks, and when the next one is due.
    assert transactions[0].index("DELETE FROM message") < transactions[0].index("UPDATE message")
    assert "min(due)" in transactions[0]
    control.close()


def size_in(path: str) -> int:
    with sqlite.file_at(path).connection() as db:
        return int(db.execute("SELECT count(*) FROM message").fetchone()[0])


def test_what_is_held_is_given_to_others_while_a_long_task_runs(
    connect: Connect, path: str, loop: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HOLD", 60.0)  # always thinks that they are short
    put(connect(), *range(BATCH))
    seen: list[Any] = []

    def handle(message: Message) -> None:
        message.ack()
        if message.payload == 3:
            # The loop stands still here, and yet the others' messages are theirs to take.
            wait_for(lambda: size(connect()) > 0, "the rest to be given back")
            assert size_in(path) == size(connect())  # what was acknowledged is gone
            other = Receiver(connect(), "jobs", prefetch=5).drain(5)
            seen.extend(other.messages)
            for taken in other.messages:
                taken.ack()
            other.close()

    worker = loop(handle)
    worker.until(lambda: size_in(path) == 0)
    ours = worker.receiver.bodies
    theirs = [message.payload for message in seen]
    assert theirs == [4, 5, 6, 7, 8]
    assert sorted(ours + theirs) == list(range(BATCH))
    assert not any(message.delivery_info.get("redelivered") for message in seen)


def test_what_was_held_while_the_worker_was_stopped_is_left_to_others(
    connect: Connect, path: str, loop: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were given it when the lease was over; here it would run a second time."""
    monkeypatch.setattr(claims, "HOLD", 60.0)
    monkeypatch.setattr(guard, "PATIENCE", 5.0)  # it would have seen to it, a moment too late
    put(connect(), *range(20))
    theirs: list[Any] = []

    def handle(message: Message) -> None:
        message.ack()
        if message.payload == 3:
            later = liveness.uptime() + membership.LEASE + 1
            monkeypatch.setattr(liveness, "uptime", lambda: later)
            with sqlite.file_at(path).transaction() as db:
                for process in process_queries.processes(db):
                    assert queries.release_overdue(db, process.id, later) == 20
            other = Receiver(connect(), "jobs", prefetch=10).drain(10)
            theirs.extend(other.bodies)
            for taken in other.messages:
                taken.ack()
            other.close()

    worker = loop(handle)
    worker.until(lambda: size_in(path) == 0)
    ours = worker.receiver.bodies
    assert theirs == list(range(10))  # the first ones had not been written as acknowledged yet
    assert ours == [0, 1, 2, 3, *range(10, 20)]


def test_a_message_that_raises_leaves_the_others(
    connect: Connect, path: str, loop: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HOLD", 60.0)
    put(connect(), *range(20))

    def handle(message: Message) -> None:
        message.ack()
        if message.payload == 5:
            raise SystemExit

    worker = loop(handle)
    with pytest.raises(SystemExit):
        worker.until(lambda: False)
    worker.close()
    assert Receiver(connect(), "jobs").drain(14).bodies == list(range(6, 20))


def test_cancelling_gives_back_what_is_held(
    connect: Connect, path: str, loop: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HOLD", 60.0)
    put(connect(), *range(20))
    held: list[Message] = []
    worker = loop(held.append, prefetch=2)
    worker.until(lambda: len(held) == 2)
    worker.receiver.consumer.cancel()
    assert size(connect()) == 18
    for message in held:
        message.ack()
    worker.close()
    assert Receiver(connect(), "jobs").drain(18).bodies == list(range(2, 20))


def test_a_signal_handler_may_cancel_in_the_middle_of_a_transaction(
    connect: Connect, path: str, loop: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a cold shutdown does; waiting there for the transaction below would be for ever."""
    monkeypatch.setattr(sqlite_opening, "BUSY_TIMEOUT", 0.5)
    put(connect(), *range(5))
    worker = loop(Message.ack)
    cancelled: list[str] = []

    def interrupt(_: object, sql: str, __: object) -> bool:
        if "SET claim = ?" in sql and not cancelled:
            cancelled.append("begun")
            try:
                worker.receiver.consumer.cancel()
                cancelled.append("done")
            except StorageError as error:
                cancelled.append(str(error))
        return True

    with sqlite.file_at(path).connection() as db:
        db.exec_trace = interrupt
    worker.until(lambda: cancelled)
    with sqlite.file_at(path).connection() as db:
        db.exec_trace = None
    worker.close()
    assert cancelled == ["begun", "done"]
    left = Receiver(connect(), "jobs").drain(size_in(path)).bodies
    assert sorted(worker.receiver.bodies + left) == list(range(5))


def test_prefetch_is_kept(connect: Connect, path: str, loop: Callable[..., Loop]) -> None:
    put(connect(), *range(20))
    held: list[Message] = []
    worker = loop(held.append, prefetch=3)
    worker.until(lambda: len(held) == 3)
    for _ in range(3):
        worker.hub.run_once()
    assert len(held) == 3
    held[0].ack()
    worker.until(lambda: len(held) == 4)


def test_nothing_is_delivered_whose_claim_was_not_committed(
    connect: Connect, path: str, loop: Callable[..., Loop]
) -> None:
    put(connect(), "one")
    worker = loop(Message.ack)
    with sqlite.file_at(path).connection() as db:
        db.set_commit_hook(lambda: True)  # SQLite makes a rollback of it
    try:
        for _ in range(2):
            with pytest.raises(StorageError):
                worker.receiver.channel.claims.turn()
    finally:
        with sqlite.file_at(path).connection() as db:
            db.set_commit_hook(None)
    assert worker.receiver.messages == []
    worker.close()
    other = Receiver(connect(), "jobs").drain(1)
    assert not other.messages[0].delivery_info.get("redelivered")


class Writing:
    """Writes numbers, each by a statement of its own."""

    def __init__(self, done: list[int]) -> None:
        self._done = done

    def write(self, db: Any, items: Sequence[int]) -> None:
        for number in items:
            db.execute(f"UPDATE binding SET pattern = '{number}'")

    def written(self, items: Sequence[int]) -> None:
        self._done += items


def test_a_result_and_its_ack_are_one_transaction(
    connect: Connect, path: str, loop: Callable[..., Loop]
) -> None:
    put(connect(), *range(10))
    done: list[int] = []
    writer = Writing(done)
    worker: Loop

    def handle(message: Message) -> None:
        number = message.payload
        claim = queries.claim_of(message.delivery_tag)
        assert backlog_at(path).put(claim, writer, number)
        # As a solo worker does: the task has been run, its ack comes in the loop's next round.
        state.all_total_count[0] += 1
        worker.hub.call_soon(message.ack)

    worker = loop(handle, prefetch=2)
    with counted(path) as statements:
        worker.until(lambda: size_in(path) == 0)
    assert sorted(done) == list(range(10))
    transactions = transactions_of(statements)
    written = [
        (part.count("UPDATE binding"), part.count("DELETE FROM message WHERE id"))
        for part in transactions
    ]
    assert [pair for pair in written if pair[0] != pair[1]] == [], transactions
    assert sum(results for results, _ in written) == 10
    worker.close()
    assert not backlog_at(path).put((1, 1), writer, 11)


def test_a_result_that_is_never_acknowledged_is_written(
    connect: Connect, path: str, loop: Callable[..., Loop]
) -> None:
    put(connect(), "one")
    done: list[int] = []

    def handle(message: Message) -> None:
        claim = queries.claim_of(message.delivery_tag)
        backlog_at(path).put(claim, Writing(done), 1)

    worker = loop(handle)
    worker.until(lambda: done)


def test_a_command_overtakes_the_tasks_put_after_it(
    connect: Connect, path: str, loop: Callable[..., Loop]
) -> None:
    seen: list[str] = []
    worker = loop(lambda message: (seen.append(message.payload), message.ack()))
    control = Receiver(
        worker.receiver.connection,
        "control",
        no_ack=True,
        handle=lambda message: seen.append(message.payload),
    )
    put(connect(), "command", queue="control")
    put(connect(), "task")
    worker.until(lambda: len(seen) == 2)
    assert seen == ["command", "task"]
    control.close()
