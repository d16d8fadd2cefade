"""Chords whose body is sent by the member that ends last, on every database."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from celery import Celery, chord, group, states
from celery.app.task import Context
from kombu import Connection
from kombu.exceptions import OperationalError

from flask_celeriac import tables
from flask_celeriac.records import chords
from flask_celeriac.records.backend import Backend


class Sent:
    """The messages that are in the queue of the broker in memory."""

    def __init__(self, app: Celery) -> None:
        self.app = app

    def all(self) -> list[Any]:
        """What was sent since the last look, as the tasks' requests."""
        found = []
        with self.app.connection_for_read() as connection:
            channel = connection.default_channel
            while (message := channel.basic_get("celery", no_ack=True)) is not None:
                args, kwargs, embed = message.payload
                headers = dict(message.headers, args=args, kwargs=kwargs, **embed)
                found.append(Context(headers, delivery_info=message.delivery_info))
        return found

    def bodies(self) -> list[Any]:
        """The arguments of the tasks that were sent since the last look."""
        return [request.args[0] for request in self.all()]


@pytest.fixture
def sent(app: Celery) -> Iterator[Sent]:
    with Connection("memory://") as connection:
        connection.SimpleQueue("celery").clear()
    return Sent(app)


def start(app: Celery, *numbers: int) -> Any:
    add, total = app.tasks["add"], app.tasks["total"]
    return chord([add.s(number, number) for number in numbers])(total.s())


def end(backend: Backend, request: Any, result: Any) -> None:
    backend.mark_as_done(request.id, result, request=request)


def test_the_last_member_sends_the_body(app: Celery, backend: Backend, sent: Sent) -> None:
    body = start(app, 1, 2, 3)
    first, second, third = sent.all()
    end(backend, third, "c")
    end(backend, first, "a")
    assert sent.all() == []
    end(backend, second, "b")
    (request,) = sent.all()
    assert (request.id, request.args) == (body.id, [["a", "b", "c"]])


def test_a_member_that_runs_again_counts_once(app: Celery, backend: Backend, sent: Sent) -> None:
    start(app, 1, 2)
    first, second = sent.all()
    end(backend, first, 10)
    end(backend, first, 11)
    assert sent.all() == []
    end(backend, second, 20)
    assert sent.bodies() == [[10, 20]]
    for request in (first, second, first):
        end(backend, request, 0)
    assert sent.all() == []


def test_a_success_after_a_failure_counts(app: Celery, backend: Backend, sent: Sent) -> None:
    start(app, 1, 2)
    first, second = sent.all()
    backend.mark_as_failure(first.id, ValueError("once"), request=first)
    end(backend, first, 10)
    backend.mark_as_failure(first.id, ValueError("late"), request=first)
    end(backend, second, 20)
    assert sent.bodies() == [[10, 20]]


@pytest.mark.parametrize("state", [states.FAILURE, states.REVOKED])
def test_a_member_that_failed_fails_the_body(
    app: Celery, backend: Backend, sent: Sent, state: str
) -> None:
    body = start(app, 1, 2)
    first, second = sent.all()
    if state == states.FAILURE:
        backend.mark_as_failure(first.id, ValueError("no stock"), request=first)
    else:
        backend.mark_as_revoked(first.id, "not wanted", request=first)
    assert body.state == "PENDING"
    end(backend, second, 20)
    assert sent.all() == []
    assert body.state == "FAILURE"
    assert f"Dependency {first.id} raised" in str(body.result)


def test_results_that_are_not_kept(app: Celery, backend: Backend, sent: Sent) -> None:
    start(app, 1, 2)
    first, second = sent.all()
    backend.mark_as_done(first.id, 10, request=first, store_result=False)
    backend.mark_as_done(second.id, 20, request=second, store_result=False)
    assert sent.bodies() == [[10, 20]]
    assert app.AsyncResult(first.id).state == "PENDING"


def test_one_member_and_none(app: Celery, backend: Backend, sent: Sent) -> None:
    start(app, 1)
    (only,) = sent.all()
    end(backend, only, 10)
    assert sent.bodies() == [[10]]
    start(app)
    assert sent.bodies() == [[]]


def test_a_group_in_the_header_stays_a_group(app: Celery, backend: Backend, sent: Sent) -> None:
    """The group at the end of a chain; one that is a member itself is flattened by Celery."""
    add, total = app.tasks["add"], app.tasks["total"]
    chord([add.s(0, 0), add.s(1, 1) | group(add.s(2), add.s(3)), add.s(4, 4)])(total.s())
    first, chained, last = sent.all()
    end(backend, last, 4)
    end(backend, first, 0)
    chained_on = app.signature(chained.chain[0])
    chained_on.apply_async((1,))
    for number, request in enumerate(sent.all()):
        end(backend, request, 2 + number)
    assert sent.bodies() == [[0, [2, 3], 4]]


def test_a_header_that_is_a_generator(app: Celery, backend: Backend, sent: Sent) -> None:
    """Its first members may have ended before anybody knows how many there are."""
    add, total = app.tasks["add"], app.tasks["total"]
    requests: list[Any] = []

    def members() -> Iterator[Any]:
        for number in range(4):
            yield add.s(number, number)
            for request in sent.all():
                requests.append(request)
                end(backend, request, len(requests))
        assert requests

    chord(members())(total.s())
    rest = sent.all()
    for request in rest:
        requests.append(request)
        end(backend, request, len(requests))
    assert len(requests) == 4
    assert sent.bodies() == [[1, 2, 3, 4]]


def test_a_member_may_add_another(app: Celery, backend: Backend, sent: Sent) -> None:
    start(app, 1, 2)
    first, second = sent.all()
    task = app.tasks["add"]
    task.push_request(**vars(first))
    try:
        task.add_to_chord(task.s(5, 5))
    finally:
        task.pop_request()
    (added,) = sent.all()
    end(backend, first, 10)
    end(backend, second, 20)
    assert sent.all() == []
    end(backend, added, 50)
    assert sorted(sent.bodies()[0]) == [10, 20, 50]


def test_the_same_chord_again(app: Celery, backend: Backend, sent: Sent) -> None:
    add, total = app.tasks["add"], app.tasks["total"]
    signature = chord([add.s(1, 1), add.s(2, 2)], total.s())
    signature.freeze()
    for _ in range(2):
        signature()
        for request in sent.all():
            end(backend, request, 1)
        assert sent.bodies() == [[1, 1]]


def test_a_chord_sent_twice_has_one_body(app: Celery, backend: Backend, sent: Sent) -> None:
    """As by a task that is killed after it has sent a chord, and runs again."""
    add, total = app.tasks["add"], app.tasks["total"]
    signature = chord([add.s(1, 1), add.s(2, 2)], total.s())
    signature.freeze()
    signature()
    first, second = sent.all()
    end(backend, first, 1)
    signature()
    end(backend, second, 2)
    assert [request.args for request in sent.all() if request.task == "total"] == [[[1, 2]]]


def test_members_that_end_at_once(app: Celery, backend: Backend, sent: Sent) -> None:
    start(app, *range(12))
    requests = sent.all()
    together = threading.Barrier(4)

    def finish(some: list[Any]) -> None:
        together.wait(timeout=60)
        for request in some:
            end(backend, request, request.group_index)
            end(backend, request, request.group_index)

    threads = [threading.Thread(target=finish, args=(requests[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sent.bodies() == [list(range(12))]


# What a killed worker leaves behind


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def left(
    app: Celery, backend: Backend, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The last member of a chord, whose worker was killed before it could send the body."""
    start(app, 1, 2)
    first, last = sent.all()
    end(backend, first, 10)
    with monkeypatch.context() as patch:
        patch.setattr(backend, "on_chord_part_return", killed)
        with pytest.raises(Killed):
            end(backend, last, 20)
    return last


def killed(*_: Any, **__: Any) -> None:
    raise Killed


def test_another_worker_sends_the_body(
    app: Celery, backend: Backend, sent: Sent, left: Any
) -> None:
    assert backend.task_result_exists(body_of(left))
    backend.sweep_chords()
    assert sent.bodies() == [[10, 20]]
    backend.sweep_chords()
    assert sent.all() == []


def body_of(request: Any) -> str:
    found: str = request.chord["options"]["task_id"]
    return found


def test_the_member_that_runs_again_sends_the_body(backend: Backend, sent: Sent, left: Any) -> None:
    end(backend, left, 20)
    assert sent.bodies() == [[10, 20]]
    backend.sweep_chords()
    assert sent.all() == []


def claim(backend: Backend, request: Any, until: float) -> None:
    """As somebody has who is about to send the body."""
    from flask_celeriac.records import queries

    with backend.engine.begin() as connection:
        due = queries.claim_chord(connection, request.group, "somebody", time.time(), until)
    assert due is not None


def test_nobody_else_sends_it_meanwhile(backend: Backend, sent: Sent, left: Any) -> None:
    claim(backend, left, time.time() + 60)
    backend.sweep_chords()
    end(backend, left, 20)
    assert sent.all() == []


def test_somebody_else_sends_it_afterwards(backend: Backend, sent: Sent, left: Any) -> None:
    claim(backend, left, time.time() - 1)
    backend.sweep_chords()
    assert sent.bodies() == [[10, 20]]


def test_a_body_that_was_sent_is_not_sent_again(backend: Backend, sent: Sent, left: Any) -> None:
    claim(backend, left, time.time() - 1)
    backend.store_result(body_of(left), 30, states.SUCCESS)
    backend.sweep_chords()
    assert sent.all() == []
    with backend.engine.connect() as connection:
        assert connection.execute(sa.select(tables.chord.c.due)).scalars().all() == [None]


def test_a_broker_that_is_away(
    app: Celery, backend: Backend, sent: Sent, left: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body waits for it, and the member that was last has ended all the same."""

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(app.amqp, "send_task_message", away)
        end(backend, left, 20)
        backend.sweep_chords()
    assert app.AsyncResult(body_of(left)).state == "PENDING"
    backend.sweep_chords()
    assert sent.bodies() == [[10, 20]]


def test_old_chords_are_forgotten(
    app: Celery, backend: Backend, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(app, 1, 2)
    start(app, 3)
    first, second, third = sent.all()
    end(backend, first, 10)
    end(backend, third, 30)
    assert sent.bodies() == [[30]]
    backend.cleanup()
    assert rows(backend) == (2, 1)
    app.conf.result_expires = timedelta(milliseconds=1)
    backend.expires = 0.001
    time.sleep(0.05)
    backend.cleanup()
    assert rows(backend) == (1, 1)  # the unfinished one
    end(backend, second, 20)
    assert sent.bodies() == [[10, 20]]
    start(app, 4)
    monkeypatch.setattr(chords, "PATIENCE", 0.001)
    time.sleep(0.05)
    backend.cleanup()
    assert rows(backend) == (0, 0)


def rows(backend: Backend) -> tuple[int, ...]:
    with backend.engine.connect() as connection:
        return tuple(
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (tables.chord, tables.chord_part)
        )
