"""What it takes to record the end of a task of the embedded broker, and what is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from kombu.asynchronous import Hub

from flask_celeriac import Celeriac, sqlite
from flask_celeriac.backlog import backlog_at
from flask_celeriac.records.ends import Successes
from flask_celeriac.worker.request import Request

from .conftest import working

celeriac = Celeriac()


@celeriac.task(name="recording.add")
def add(x: int, y: int) -> int:
    return x + y


@celeriac.task(name="recording.quiet", ignore_result=True)
def quiet(x: int) -> None:
    pass


@celeriac.task(name="recording.fail", ignore_result=True)
def fail() -> None:
    raise ValueError("no")


@celeriac.task(name="recording.parent")
def parent() -> None:
    quiet.delay(1)


@celeriac.task(name="recording.again")
def again() -> None:
    if not again.request.retries:
        again.retry(countdown=0)


class Shop:
    """An application, and a worker's work done by hand."""

    def __init__(self, app: Flask) -> None:
        self.celery: Any = app.extensions["celery"]
        self.file = sqlite.file_at(sqlite.path_of(self.celery.conf.broker_url))
        self.celery.backend.engine.connect().close()  # the tables are there

    @contextmanager
    def looping(self, *, is_kept: bool = True) -> Iterator[Any]:
        """The channel of a worker whose event loop acknowledges when it is told to.

        :param is_kept: whether tasks run in its process
        """
        backlog = backlog_at(self.file.path)
        with self.celery.connection_for_read() as connection:
            channel = connection.default_channel
            channel.connection.in_event_loop = True
            if is_kept:
                backlog.open()
            yield channel
            channel.claims.flush(results=True)
            channel.connection.in_event_loop = False
            if is_kept:
                backlog.close()

    def run(self, channel: Any) -> None:
        """Run a task, and acknowledge it."""
        self.request(channel.basic_get("celery")).execute()

    def request(self, message: Any) -> Request:
        task = self.celery.tasks[message.headers["task"]]
        return Request(message, on_ack=message.ack_log_error, app=self.celery, task=task)

    def record(self, task_id: str) -> dict[str, Any]:
        with self.file.connection() as db:
            cursor = db.execute("SELECT * FROM celeriac_record WHERE task_id = ?", (task_id,))
            names = [column[0] for column in cursor.description or ()]
            return dict(zip(names, cursor.fetchall()[0], strict=True))

    def count(self) -> int:
        with self.file.connection() as db:
            return int(db.execute("SELECT count(*) FROM celeriac_record").fetchall()[0][0])

    @contextmanager
    def counted(self) -> Iterator[list[tuple[str, int]]]:
        """The statements meanwhile, in their first words, and how many values each is given."""
        found: list[tuple[str, int]] = []

        def note(_: object, sql: str, bound: Any) -> bool:
            found.append((" ".join(sql.split()[:3]), len(bound or ())))
            return True

        with self.file.connection() as db:
            db.exec_trace = note
        try:
            yield found
        finally:
            with self.file.connection() as db:
                db.exec_trace = None


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    made: list[Flask] = []
    contexts = ExitStack()

    def build(**config: Any) -> Shop:
        app = Flask(__name__, instance_path=str(tmp_path / str(len(made))))
        app.config.update(config)
        celeriac.init_app(app)
        made.append(app)
        contexts.enter_context(app.app_context())
        return Shop(app)

    with contexts:
        yield build
    for app in made:
        app.extensions["celery"].close()


def written(statements: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """What is not reading, nor a look at the file."""
    return [one for one in statements if one[0].split()[0] not in ("SELECT", "PRAGMA")]


RECORD, ACK = ("INSERT INTO celeriac_record", 9), ("DELETE FROM message", 2)
BEGIN, COMMIT = ("BEGIN IMMEDIATE", 0), ("COMMIT", 0)


@pytest.mark.parametrize("task", [add, quiet], ids=["with a result", "ignored"])
def test_ends_are_written_together_in_one_transaction(make: Callable[..., Shop], task: Any) -> None:
    shop = make()
    arguments = (1, 2) if task is add else (1,)
    ids = [task.delay(*arguments).id for _ in range(5)]
    with shop.looping() as channel, shop.counted() as statements:
        for _ in ids:
            shop.run(channel)
        before = len(statements)
        channel.claims.flush(results=True)
    assert ACK not in statements[:before]
    assert RECORD not in statements[:before]
    end = [BEGIN, *[RECORD] * 5, *[ACK] * 5, COMMIT]
    assert written(statements[before:]) == end
    assert {shop.record(one)["state"] for one in ids} == {"succeeded"}


def test_acknowledgements_wait_for_no_round_of_the_loop(
    make: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make()
    later: list[Any] = []
    call_soon = Hub.call_soon

    def note(hub: Hub, callback: Any, *args: Any) -> Any:
        later.append(callback)
        return call_soon(hub, callback, *args)

    monkeypatch.setattr(Hub, "call_soon", note)
    sent = [add.delay(number, 1) for number in range(20)]
    with working(shop.celery.flask_app):
        assert [each.get(timeout=60) for each in sent] == list(range(1, 21))
    assert len(later) < len(sent)


def test_a_pool_process_writes_an_end_by_one_statement(make: Callable[..., Shop]) -> None:
    shop = make()
    add.delay(1, 2)
    with shop.looping(is_kept=False) as channel, shop.counted() as statements:
        shop.run(channel)
    # The claim's transaction is over, and its own commits by itself.
    assert written(statements)[-2:] == [COMMIT, RECORD]


@pytest.mark.parametrize("is_kept", [True, False], ids=["beside", "in a pool"])
def test_the_short_way_records_what_the_long_way_does(
    make: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    shop = make()
    ids: list[list[str]] = []
    for _ in range(2):
        ids.append([add.delay(1, 2).id, quiet.delay(3).id])
        with shop.looping(is_kept=is_kept) as channel:
            shop.run(channel)
            shop.run(channel)
        monkeypatch.setattr(Successes, "of", lambda *_, **__: None)
    varying = {"id", "task_id", "created", "started", "finished", "updated"}
    for short, long in zip(*ids, strict=True):
        one, other = shop.record(short), shop.record(long)
        assert {name for name in varying if one[name] is None} == set()
        assert one["created"] <= one["started"] <= one["finished"] == one["updated"]
        for name in varying:
            del one[name], other[name]
        assert one == other


def test_what_more_there_is_to_say_is_recorded(make: Callable[..., Shop]) -> None:
    shop = make()
    tasks = {
        "children": parent.delay(),
        "labels": add.apply_async((1, 2), headers={"celeriac_labels": ["one"]}),
        "retry_of": quiet.apply_async((1,), headers={"celeriac_retry_of": "other"}),
        "root_id": add.apply_async((1, 2), root_id="root"),
        "group_id": add.apply_async((1, 2), group_id="group"),
    }
    with shop.looping() as channel:
        for _ in tasks:
            shop.run(channel)
    found = {name: shop.record(result.id) for name, result in tasks.items()}
    assert {name: row[name] for name, row in found.items() if row[name] is None} == {}
    assert {row["state"] for row in found.values()} == {"succeeded"}


def test_whoever_runs_a_task_does_not_decode_its_body_again(make: Callable[..., Shop]) -> None:
    shop = make()
    add.delay(1, 2)
    with shop.looping() as channel:
        message = channel.basic_get("celery")
        request = shop.request(message)
        assert request.body is message.payload
        assert request.content_type is None  # as Celery says that it is decoded
        message.ack()


def test_a_claim_that_was_taken_away_ends_nothing(
    make: Callable[..., Shop], caplog: pytest.LogCaptureFixture
) -> None:
    shop = make()
    lost, kept = quiet.delay(1).id, quiet.delay(2).id
    with shop.looping() as channel:
        shop.run(channel)
        shop.run(channel)
        with shop.file.connection() as db:
            db.execute("UPDATE message SET claim = claim + 100 WHERE task_id = ?", (lost,))
    assert shop.count() == 1
    assert shop.record(kept)["state"] == "succeeded"
    (said,) = [one.getMessage() for one in caplog.records if "was taken from" in one.getMessage()]
    assert lost in said


def test_of_results_alone_nothing_else_is_kept(make: Callable[..., Shop]) -> None:
    shop = make(CELERIAC_RECORDS="Results")
    results = [add.delay(1, 2), quiet.delay(1), fail.delay(), again.delay()]
    with shop.looping() as channel:
        for _ in range(5):
            shop.run(channel)
            channel.claims.flush(results=True)
    assert results[0].get(timeout=1) == 3
    assert results[3].state == "SUCCESS"
    assert shop.count() == 2
    for result in (results[0], results[3]):
        found = shop.record(result.id)
        assert found["finished"] is not None
        for name in ("arguments", "worker", "started", "error_type"):
            assert found[name] is None
    with shop.file.connection() as db:
        assert db.execute("SELECT * FROM celeriac_attempt").fetchall() == []
