"""What is not run is kept with the reason."""

from __future__ import annotations

import json
import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from kombu import Consumer, Queue
from kombu.message import Message

from flask_celeriac import Celeriac, dead_letters, operations
from flask_celeriac.database import engine_for
from flask_celeriac.errors import DeadLetterError
from flask_celeriac.operations.sources import records_url
from flask_celeriac.records import gate_queries
from flask_celeriac.records.task_record import Filter, TaskRecord
from tests.support.processes import wait_for

from .conftest import working
from .systems import BARE, RECORDED, inject, system

celeriac = Celeriac()


@celeriac.task(name="dead.add")
def add(a: int, b: int) -> int:
    return a + b


@pytest.fixture(scope="module", params=RECORDED)
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flask]:
    with system(request.param, tmp_path_factory.mktemp("dead"), celeriac) as app:
        yield app


@pytest.fixture
def celery(app: Flask) -> Iterator[Any]:
    celery = app.extensions["celery"]
    yield celery
    for task in operations.list_tasks(celery).tasks:
        operations.discard(celery, task.id)


def dead(celery: Any) -> list[TaskRecord]:
    return operations.list_tasks(celery, Filter(states=("dead",))).tasks


def headers(task_id: str, name: str = "dead.add", **more: Any) -> dict[str, Any]:
    return {"lang": "py", "task": name, "id": task_id, "root_id": task_id, **more}


def worked(app: Flask) -> None:
    """A worker has seen all that was in the queue."""
    with working(app):
        assert add.delay(1, 2).get(timeout=60) == 3


class Planted:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def test_what_cannot_be_read_is_kept_and_the_worker_goes_on(
    app: Flask, celery: Any, tmp_path: Path
) -> None:
    planted = tmp_path / "planted"
    args = json.dumps([[1, 2], {}, {}])
    inject(app, "no json at all", headers=headers("torn"))
    inject(app, pickle.dumps(Planted(planted)), headers=headers("pickled"),
           content_type="application/x-python-serialize", content_encoding="binary")  # fmt: skip
    inject(app, b"\xff\xfe\0", headers=headers("bytes"))
    inject(app, json.dumps({"no": "task"}), headers={})
    inject(app, args, headers=headers("when", expires="whenever"))
    worked(app)
    found = {task.id: task for task in dead(celery)}
    assert not planted.exists()
    assert len(found) == 5
    assert {"torn", "pickled", "bytes", "when"} < set(found)
    assert found["when"].args == [1, 2]
    reasons = {str(task.error_message).partition(":")[0] for task in found.values()}
    assert reasons == {"undecodable", "content", "invalid", "unknown_message"}
    with pytest.raises(DeadLetterError, match="undecodable"):
        add.AsyncResult("torn").get(timeout=60)
    url = records_url(celery)
    assert url is not None
    with engine_for(url).connect() as connection:
        letter = gate_queries.find_letter(connection, "torn")
    assert letter is not None
    assert letter.body == "no json at all"
    assert json.loads(letter.headers)["id"] == "torn"


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_two_protocols_in_one_message_do_not_stop_a_worker(
    app: Flask, celery: Any, pool: str
) -> None:
    body = json.dumps({"task": "dead.add", "id": "x", "z": 1})
    for number in range(4):
        inject(app, body, headers=headers(f"both-{number}"))
    with working(app, pool=pool, concurrency=2):
        assert add.delay(1, 2).get(timeout=60) == 3
        wait_for(lambda: len(dead(celery)) == 4, "no dead letters")


def test_it_can_be_sent_again_edited_and_discarded(app: Flask, celery: Any) -> None:
    for task_id in ("late", "later"):
        args = json.dumps([[1, 2], {}, {}])
        inject(app, args, headers=headers(task_id, expires="whenever"))
    with working(app):
        wait_for(lambda: len(dead(celery)) == 2, "no dead letters")
        again = operations.retry(celery, "late")
        other = operations.retry(celery, "late", args=[3], kwargs={"b": 4})
        assert [add.AsyncResult(each).get(timeout=60) for each in (again, other)] == [3, 7]
    chosen = Filter(states=("dead",))
    outcome = operations.apply_to_many(celery, "discard", chosen, expected=2)
    assert (outcome.done, outcome.refused) == (2, {})
    url = records_url(celery)
    assert url is not None
    with engine_for(url).connect() as connection:
        assert gate_queries.find_letter(connection, "late") is None


def test_a_task_that_has_ended_is_not_called_dead(app: Flask, celery: Any) -> None:
    with working(app):
        sent = add.delay(1, 2)
        assert sent.get(timeout=60) == 3
        inject(app, "torn", headers=headers(sent.id))
        wait_for(lambda: len(dead(celery)) == 1, "no dead letter")
    assert operations.show(celery, sent.id).state == "succeeded"


@pytest.mark.parametrize("name", BARE)
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_without_records_it_is_in_a_queue_of_the_broker(
    name: str, compression: str | None, tmp_path: Path
) -> None:
    with system(name, tmp_path, celeriac, result_backend="cache+memory://") as app:
        inject(app, "torn", headers=headers("torn"), compression=compression)
        worked(app)
        with app.extensions["celery"].connection_for_read() as connection:
            found: list[Any] = []
            with Consumer(
                connection, [Queue(dead_letters.QUEUE)], on_message=found.append, accept=None
            ):
                connection.drain_events(timeout=10)
        (message,) = found
        assert message.body in ("torn", b"torn")
        assert message.headers["id"] == "torn"
        assert message.headers[dead_letters.REASON] == "undecodable"


def test_a_letter_says_that_its_body_is_compressed_if_it_is() -> None:
    unpacked = Message(zlib.compress(b"torn"), headers=headers("one", compression="gzip"))
    letter = dead_letters.letter_of(unpacked)
    assert (letter.body, letter.headers) == (b"torn", headers("one"))
    torn = Message(b"torn", headers=headers("one", compression="gzip"))
    letter = dead_letters.letter_of(torn)
    assert (letter.body, letter.headers["compression"]) == (b"torn", "gzip")
