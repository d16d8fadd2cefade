"""The tasks of a worker: what it runs, what it ran, and what waits for another attempt."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flask_celeriac import Celeriac, operations
from flask_celeriac.operations.sources import sources_of
from flask_celeriac.records import write_queries
from flask_celeriac.records.task_record import Filter
from tests.services.conftest import MakeApp, working
from tests.support.processes import wait_for

celeriac = Celeriac()
go_on = threading.Event()


@celeriac.task(name="by_worker.again", bind=True, max_retries=3)
def again(self: Any, countdown: float) -> None:
    raise self.retry(countdown=countdown)


@celeriac.task(name="by_worker.held")
def held() -> None:
    assert go_on.wait(60)


@celeriac.task(name="by_worker.done")
def done() -> None: ...


@pytest.fixture
def celery(make_app: MakeApp) -> Iterator[Any]:
    app: Flask = make_app()
    celeriac.init_app(app)
    with app.app_context():
        yield app.extensions["celery"]
    app.extensions["celery"].close()


def in_state(celery: Any, task_id: str, state: str) -> Any:
    def look() -> Any:
        task = operations.show(celery, task_id)
        return task if task.state == state else None

    return wait_for(look, f"{task_id} to be {state}")


def put_off(celery: Any, task_id: str) -> str:
    """The worker of a task that is to be repeated: recorded after the next attempt was sent."""

    def look() -> Any:
        return in_state(celery, task_id, "retrying").worker

    return str(wait_for(look, "it to be recorded"))


def pages(celery: Any, chosen: Filter, limit: int) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = operations.list_tasks(celery, chosen, cursor=cursor, limit=limit)
        found += [task.id for task in page.tasks]
        cursor = page.next
        if cursor is None:
            return found


def check(celery: Any, expected: list[str], **chosen: Any) -> None:
    """Lists in pages of any length and counts agree; the newest comes first."""
    wanted = Filter(**chosen)
    for limit in (1, 2, 50):
        assert pages(celery, wanted, limit) == expected, (chosen, limit)
    counted = operations.count(celery, wanted)
    assert (counted.number, counted.capped) == (len(expected), False), chosen


def test_what_waits_for_another_attempt_is_its_workers(celery: Any) -> None:
    go_on.clear()
    with working(celery.flask_app, "threads", concurrency=1):
        repeated = [again.delay(1000).id for _ in range(3)]
        # A worker in a test's thread has a name that its pool does not know.
        (worker,) = {put_off(celery, each) for each in repeated}
        ended = done.delay().id
        in_state(celery, ended, "succeeded")
        running = held.delay().id
        try:
            name = in_state(celery, running, "running").worker
            assert name
            theirs = [ended, *reversed(repeated)]
            if name == worker:
                theirs.insert(0, running)
            check(celery, [each for each in theirs if each != ended],
                  worker=worker, states=("retrying", "running"))  # fmt: skip
            check(celery, [*reversed(repeated)], worker=worker, states=("retrying",))
            check(celery, [], worker=worker, states=("queued",))
            check(celery, [running], worker=name, states=("running",))
            check(celery, sorted(theirs, reverse=True), worker=worker)
            check(celery, repeated[1:2], worker=worker, root=repeated[1])
            check(celery, [], worker="of@nobody")
        finally:
            go_on.set()
        in_state(celery, running, "succeeded")


def test_a_page_goes_on_beyond_records_of_what_waits(celery: Any) -> None:
    """They are older than the messages, which are where the list has these tasks."""
    with working(celery.flask_app, "threads", concurrency=1):
        ended = [done.delay().id for _ in range(3)]
        repeated = [again.delay(1000).id for _ in range(3)]
        (worker,) = {put_off(celery, each) for each in repeated}
        for each in ended:
            in_state(celery, each, "succeeded")
        theirs = [*reversed(repeated), *reversed(ended)]
        check(celery, theirs)
        check(celery, theirs, worker=worker)


def test_another_worker_has_it_now(celery: Any) -> None:
    """Its record says so only at its end."""
    sent = held.delay().id
    values = {"task_id": sent, "state": "retrying", "worker": "one@gone", "updated": 1.0}
    with sources_of(celery).engine.begin() as connection:
        assert write_queries.write(connection, values)
    check(celery, [sent], worker="one@gone")
    check(celery, [sent], worker="one@gone", states=("queued",))
    check(celery, [], worker="one@gone", states=("retrying",))
    go_on.clear()
    with working(celery.flask_app, "threads", concurrency=1):
        try:
            now = in_state(celery, sent, "running").worker
            assert now != "one@gone"
            check(celery, [sent], worker=now)
            check(celery, [], worker="one@gone")
        finally:
            go_on.set()
        in_state(celery, sent, "succeeded")
