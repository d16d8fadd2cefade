"""Limits that hold over all workers: so many at once, and so many in a time."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import chord
from celery.app.task import Context
from flask import Flask
from kombu.exceptions import OperationalError

from flask_celeriac import Celeriac, ConfigError, Limit, Rate, operations
from flask_celeriac.broker import task_queries
from flask_celeriac.limits import MARK, PERMIT, TICKET, WAITS
from flask_celeriac.records.description import AGAIN
from flask_celeriac.task import Task
from tests.services import systems
from tests.services.conftest import working
from tests.support.processes import wait_for

celeriac = Celeriac()


class Runs:
    """What ran when, and how many of a kind at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        self.inside: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.began: list[tuple[Any, float]] = []
        self.go = threading.Event()

    def enter(self, kind: str, what: Any) -> None:
        with self.lock:
            self.began.append((what, time.time()))
            self.inside[kind] += 1
            self.most[kind] = max(self.most[kind], self.inside[kind])

    def leave(self, kind: str) -> None:
        with self.lock:
            self.inside[kind] -= 1


runs = Runs()


@celeriac.task(name="limits.two", concurrency=2)
def two(n: int) -> None:
    runs.enter("two", n)
    runs.go.wait(20)
    runs.leave("two")


@celeriac.task(name="limits.by_key", concurrency=Limit(1, key="customer"))
def by_key(customer: str, n: int) -> None:
    runs.enter(customer, n)
    runs.go.wait(20)
    runs.leave(customer)


@celeriac.task(name="limits.rated", bind=True, rate=Rate("10/s", burst=2))
def rated(self: Task[..., Any]) -> None:
    runs.enter("rated", (self.request.headers or {}).get(PERMIT))


@celeriac.task(name="limits.slowly", rate="1/h")
def slowly(n: int) -> None:
    runs.enter("slowly", n)


@celeriac.task(name="limits.noted", bind=True, rate="1/s")
def noted(self: Task[..., Any], n: int) -> None:
    runs.enter("noted", (n, "celeriac_unknown_since" in (self.request.headers or ())))


@celeriac.task(name="limits.again", bind=True, concurrency=1, max_retries=2)
def again(self: Task[..., Any]) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return int(self.request.retries)


@celeriac.task(name="limits.alone", concurrency=1)
def alone(n: int) -> int:
    runs.enter("alone", n)
    time.sleep(0.05)  # for the others to come meanwhile
    return n


@celeriac.task(name="limits.total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


@pytest.fixture(scope="module", params=systems.RECORDED)
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flask]:
    with systems.system(request.param, tmp_path_factory.mktemp("limits"), celeriac) as app:
        yield app


@pytest.fixture
def celery(app: Flask) -> Iterator[Any]:
    runs.clear()
    celery = app.extensions["celery"]
    yield celery
    celery.control.purge()
    for task in operations.list_tasks(celery, limit=100).tasks:
        if not task.ended:
            operations.revoke(celery, task.id, terminate=True)
        operations.discard(celery, task.id)


def test_at_once(app: Flask, celery: Any) -> None:
    results = [two.delay(n) for n in range(7)]
    others = [by_key.delay(customer, n) for customer in ("a", "b") for n in range(2)]
    with working(app, pool="threads", concurrency=12):
        wait_for(lambda: sum(runs.inside.values()) == 4, "all that may run")
        line = wait_for(lambda: _in_line(celery, [r.id for r in results]), "those that wait")
        reason = operations.why(celery, line[0])[0]
        assert reason.code == "limit"
        assert "concurrency limit: 2 of 2 run" in reason.text
        runs.go.set()
        for result in (*results, *others):
            result.get(timeout=20)
    assert runs.most == {"two": 2, "a": 1, "b": 1}
    assert len(runs.began) == 11
    assert {operations.show(celery, result.id).attempts for result in results} == {1}


def test_several_messages_of_one_task(app: Flask, celery: Any) -> None:
    """A worker was killed after it had put a run off, before it could acknowledge its message."""
    in_line = celery.ledger.in_line
    ids = [two.delay(n).id for n in range(2)]
    for mark in ("a", "b"):
        headers = {MARK: mark, TICKET: -1, WAITS: "slot", AGAIN: 1}
        two.apply_async((0,), task_id=ids[0], headers=headers)
    with working(app, pool="threads", concurrency=4):
        wait_for(lambda: runs.inside["two"] >= 2, "all that may run")
        wait_for(lambda: runs.inside["two"] > 2 or any(map(in_line, ids)), "another message")
        runs.go.set()
        for task_id in ids:
            two.AsyncResult(task_id).get(timeout=20)
    assert runs.most == {"two": 2}


def test_a_run_goes_on_whatever_message_of_its_task_is_put_off(tmp_path: Path) -> None:
    with systems.system("redis+postgresql", tmp_path, celeriac) as app:
        celery = app.extensions["celery"]
        task_id = two.apply_async((0,), retries=1).id
        request = SimpleNamespace(id=task_id, retries=1, args=(0,), kwargs={}, delivery_info={})
        request.headers, request.task, request.hostname = {}, two.name, "worker"
        assert celery.recorder.began(Context(vars(request)), again=False, limit=5) is None
        headers = {MARK: "a", WAITS: "slot", AGAIN: 1}
        two.apply_async((0,), task_id=task_id, retries=1, countdown=60, headers=headers)
        task = operations.show(celery, task_id)
        assert (task.state, task.attempts) == ("running", 2)


def _in_line(celery: Any, ids: list[str]) -> list[str]:
    """Those that wait for a place, when that is all but two."""
    line = [task_id for task_id in ids if celery.ledger.in_line(task_id)]
    return line if len(line) == len(ids) - 2 else []


def test_in_a_time(app: Flask, celery: Any) -> None:
    """Each run that came too early is given a moment of its own, and does not begin before."""
    results = [rated.delay() for _ in range(8)]
    with working(app, pool="threads", concurrency=8):
        for result in results:
            result.get(timeout=20)
    assert len(runs.began) == 8
    given = sorted((permit[1], began) for permit, began in runs.began if permit)
    assert all(began >= moment for moment, began in given)
    apart = [second - first for (first, _), (second, _) in itertools.pairwise(given)]
    assert all(seconds > 0.1 - 1e-6 for seconds in apart), given
    assert {operations.show(celery, result.id).attempts for result in results} == {1}


def test_it_says_so(app: Flask, celery: Any) -> None:
    first, second = slowly.delay(1), slowly.delay(2)
    with working(app):
        late = wait_for(lambda: _scheduled(celery, (first, second)), "one to be put off")
        reason = operations.why(celery, late.id)[0]
        assert reason.code == "limit"
        assert "rate limit of 1/h" in reason.text
    assert len(runs.began) == 1


_BOTH = {"succeeded", "scheduled"}


def _scheduled(celery: Any, results: tuple[Any, ...]) -> Any:
    """The one that is put off, when the other one has ended."""
    states = [operations.show(celery, result.id).state for result in results]
    return results[states.index("scheduled")] if set(states) == _BOTH else None


@pytest.mark.parametrize("app", systems.RECORDED[1:], indirect=True)
def test_what_is_put_off_and_comes_again(app: Flask, celery: Any) -> None:
    """Its worker may die before it has acknowledged what it has sent once more."""
    first, second = noted.delay(1), noted.delay(2)
    with working(app):
        late = wait_for(lambda: _scheduled(celery, (first, second)), "one to be put off")
        number = 1 if late is first else 2
        headers = {"lang": "py", "task": noted.name, "id": late.id, "root_id": late.id}
        # It may begin, which the first message of the task could not.
        headers |= {"retries": 0, "celeriac_again": 1, PERMIT: [0, time.time()]}
        systems.inject(app, json.dumps([[number], {}, {}]), headers=headers)
        noted.delay(3).get(timeout=20)  # the one before it has its turn first
    assert sorted(n for (n, _), _ in runs.began) == [1, 2, 3]


def test_it_was_known_here(app: Flask, celery: Any) -> None:
    """What is put off was not unknown all the time until it comes again."""
    results = [noted.apply_async((n,), headers={"celeriac_unknown_since": 1.0}) for n in range(2)]
    with working(app):
        for result in results:
            result.get(timeout=20)
    assert not all(kept for (_, kept), _ in runs.began)  # one of them was put off, or both


def test_a_repeated_attempt(app: Flask, celery: Any) -> None:
    result = again.delay()
    with working(app):
        assert result.get(timeout=20) == 2


def test_in_a_chord(app: Flask, celery: Any) -> None:
    """A run that is put off is still the member that it was, and counts once."""
    result = chord([alone.s(n) for n in range(3)])(total.s())
    with working(app, pool="threads", concurrency=4):
        assert result.get(timeout=30) == 3
    assert sorted(what for what, _ in runs.began) == [0, 1, 2]


def test_early_acknowledgement(tmp_path: Path) -> None:
    mine = Celeriac()

    @mine.task(concurrency=1, acks_late=False)
    def early() -> None: ...

    refused = pytest.raises(ConfigError, match="early: with acks_late=False")
    with refused, systems.system("embedded", tmp_path, mine):
        pass


def test_early_acknowledgement_by_the_base_of_a_task(tmp_path: Path) -> None:
    mine = Celeriac()

    class Early(Task[..., Any]):
        acks_late = False

    @mine.task(concurrency=1, base=Early)
    def early() -> None: ...

    refused = pytest.raises(ConfigError, match="acks_late")
    with systems.system("embedded", tmp_path, mine) as app, working(app), refused:
        early.delay().get(timeout=20)


def test_a_rate_where_messages_are_acknowledged_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to wait has no message any more: it is sent once more."""
    mine = Celeriac()

    @mine.task(name="limits.early", rate="2/s", acks_late=False)
    def early(n: int) -> int:
        return n

    with systems.system("embedded", tmp_path, mine) as app:
        celery = app.extensions["celery"]
        store, advance = celery.ledger.store, celery.ledger.advance

        def is_acknowledged() -> bool:
            with store.file.connection() as db:
                return not task_queries.find_messages(db, [celery.current_worker_task.request.id])

        def late(*counted: Any) -> float:
            wait_for(is_acknowledged, "the event loop to write it")
            return float(advance(*counted))

        monkeypatch.setattr(celery.ledger, "advance", late)
        results = [early.delay(n) for n in range(2)]
        with working(app, pool="threads", concurrency=2):
            assert [result.get(timeout=20) for result in results] == [0, 1]


def test_what_cannot_be_sent_once_more_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its message was acknowledged: given back it would be gone without a word."""
    mine = Celeriac()

    @mine.task(name="limits.seldom", rate="1/h", acks_late=False)
    def seldom() -> None: ...

    def refuse(*_: Any, **__: Any) -> None:
        raise OperationalError("out of reach")

    with systems.system("embedded", tmp_path, mine) as app:
        results = [seldom.delay() for _ in range(2)]
        monkeypatch.setattr(app.extensions["celery"], "send_task", refuse)
        with working(app):
            assert results[0].get(timeout=20) is None
            with pytest.raises(OperationalError, match="out of reach"):
                results[1].get(timeout=20)
