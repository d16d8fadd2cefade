"""Unique tasks: a call gets the task there is, for as long as that is there."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import chain, group
from celery.beat import Scheduler
from flask import Flask
from sqlalchemy import insert, select

from flask_celeriac import Celeriac, ConfigError, Unique, operations, tables
from flask_celeriac.database import engine_for
from flask_celeriac.ledgers import FORGET
from flask_celeriac.task import Task
from flask_celeriac.urls import records_url
from flask_celeriac.worker import pruning
from tests.services import systems
from tests.services.conftest import working
from tests.support.processes import wait_for

celeriac = Celeriac()
seen: list[Any] = []


@celeriac.task(name="unique.by_all", unique=True)
def by_all(a: int, b: int = 2) -> int:
    seen.append((a, b, by_all.delay(a, b=b).id))
    return a + b


@celeriac.task(name="unique.by_name", unique=Unique(key=("a",)))
def by_name(a: int, b: int = 2) -> int:
    return a + b


@celeriac.task(name="unique.by_function", unique=Unique(key=lambda a, b=2: str(a % 2)))
def by_function(a: int, b: int = 2) -> int:
    return a + b


@celeriac.task(name="unique.waiting", unique=Unique(until="start"))
def while_waiting(n: int) -> None:
    if len(seen) < 2:
        seen.append(while_waiting.delay(n).id)


@celeriac.task(name="unique.rarely", unique=Unique(period=timedelta(hours=1)))
def rarely() -> None:
    pass


@celeriac.task(name="unique.again", bind=True, max_retries=1, unique=True)
def again(self: Task[..., Any], a: int) -> None:
    seen.append(again.delay(a).id)
    if self.request.retries == 0:
        raise self.retry(countdown=0)


@pytest.fixture(scope="module", params=systems.RECORDED)
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flask]:
    with systems.system(request.param, tmp_path_factory.mktemp("unique"), celeriac) as app:
        yield app


@pytest.fixture
def celery(app: Flask) -> Iterator[Any]:
    seen.clear()
    celery = app.extensions["celery"]
    yield celery
    celery.control.purge()
    for task in operations.list_tasks(celery, limit=100).tasks:
        if not task.ended:
            operations.revoke(celery, task.id, terminate=True)
        operations.discard(celery, task.id)


def test_by_all_arguments(app: Flask, celery: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "flask_celeriac.uniqueness"):
        first, second = by_all.delay(1), by_all.delay(b=2, a=1)
    other = by_all.delay(1, 3)
    assert second.id == first.id != other.id
    assert first.id in caplog.text
    with working(app):
        assert (first.get(timeout=20), other.get(timeout=20)) == (3, 4)
        # While it runs it is there, too; when it has ended, it is not, from that moment on.
        assert sorted(seen) == [(1, 2, first.id), (1, 3, other.id)]
        assert by_all.delay(1).id != first.id


def test_what_says_nothing_any_more_is_forgotten_to_the_last(
    celery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "PAUSE", 0.0)
    held = by_all.delay(1)
    many = range(2 * FORGET + 10)
    url = records_url(celery)
    assert url is not None
    with engine_for(url).begin() as connection:
        keys = [{"key": f"old {n}", "task_id": f"gone {n}", "until": 1.0} for n in many]
        connection.execute(insert(tables.unique), keys)
        connection.execute(insert(tables.rate), [{"key": f"old {n}", "next": 1.0} for n in many])
    pruning.forget(celery, threading.Event())
    with engine_for(url).begin() as connection:
        for table in (tables.unique, tables.rate):
            left = connection.execute(select(table.c.key)).scalars().all()
            assert [key for key in left if key.startswith("old")] == []
    assert by_all.delay(1).id == held.id


def test_by_some(celery: Any) -> None:
    assert by_name.delay(1, 2).id == by_name.delay(1, b=3).id != by_name.delay(2, 2).id
    assert by_function.delay(1).id == by_function.delay(3).id != by_function.delay(2).id


def test_many(celery: Any) -> None:
    held = by_all.delay(1)
    assert by_all.delay_many([(1,), (2,), {"a": 2}, (3,)]) == 2
    assert by_all.delay(1).id == held.id


def test_all_the_same(celery: Any) -> None:
    assert by_all.apply_async((1,), unique=False).id != by_all.delay(1).id


def test_while_it_waits(app: Flask, celery: Any) -> None:
    first = while_waiting.delay(1)
    assert while_waiting.delay(1).id == first.id
    with working(app):
        first.get(timeout=20)
        # What was sent while the first one ran, ran after it.
        assert seen[0] != first.id
        celery.AsyncResult(seen[0]).get(timeout=20)


def test_a_repeated_attempt_keeps_it(app: Flask, celery: Any) -> None:
    first = again.delay(1)
    with working(app):
        first.get(timeout=20)
    assert seen == [first.id, first.id]


def test_revoked_is_gone(celery: Any) -> None:
    first = by_name.delay(1)
    operations.revoke(celery, first.id)
    assert by_name.delay(1).id != first.id


def test_in_a_workflow_all_are_sent(app: Flask, celery: Any) -> None:
    """Somebody waits for each of them."""
    held = by_name.delay(1)
    signature: Any = by_name.si(1)
    both = group(signature, signature).apply_async()
    last = chain(signature, signature).apply_async()
    assert held.id not in {both[0].id, both[1].id, last.id, last.parent.id}
    with working(app):
        assert both.get(timeout=20) == [3, 3]
        assert last.get(timeout=20) == 3


def test_for_a_period(app: Flask, celery: Any) -> None:
    """Whatever became of it; and keys that nobody has any more are forgotten."""
    first = by_name.delay(7)
    kept = rarely.delay()
    with working(app):
        first.get(timeout=20)
        wait_for(lambda: operations.show(celery, first.id).ended, "its end")
        kept.get(timeout=20)
        wait_for(lambda: operations.show(celery, kept.id).ended, "the other's end")
        wait_for(celery.ledger.forget, "a key of nobody")
    assert rarely.delay().id == kept.id


def test_a_schedule_entry_whose_last_run_goes_on(celery: Any) -> None:
    beat = Scheduler(celery, lazy=True)
    entry = beat.Entry(name="often", task="unique.by_name", schedule=1, args=(1,), app=celery)
    ids = {beat.apply_async(entry, advance=False).id for _ in range(2)}
    assert len(ids) == 1


CALLERS = """
    import json, sys
    from flask import Flask
    from flask_celeriac import Celeriac

    celeriac = Celeriac()

    @celeriac.task(name="unique.by_all", unique=True)
    def by_all(a, b=2): ...

    app = Flask("system", instance_path=sys.argv[1])
    app.config.update(json.loads(sys.argv[2]))
    celeriac.init_app(app)
    with app.app_context():
        by_all.delay(-1)
        print("ready", flush=True)
        sys.stdin.readline()
        print(*[by_all.delay(n).id for n in range(25)])
"""


def test_at_once(app: Flask, celery: Any) -> None:
    """Of calls from two processes at the same time, one is sent."""
    config = {key: app.config[key] for key in ("CELERY", "CELERIAC_DATABASE")}
    source = textwrap.dedent(CALLERS)
    command = [sys.executable, "-c", source, app.instance_path, json.dumps(config)]
    with ExitStack() as stack:
        callers = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(2)
        ]
        for caller in callers:
            assert caller.stdout is not None
            assert caller.stdout.readline() == "ready\n"
        for caller in callers:
            assert caller.stdin is not None
            caller.stdin.write("go\n")
            caller.stdin.flush()
        said = [caller.communicate(timeout=60)[0].split() for caller in callers]
    assert len(set(said[0])) == 25
    assert said[0] == said[1]
    assert len(operations.list_tasks(celery, limit=100).tasks) == 26


@pytest.mark.parametrize("broker", systems.BARE)
def test_no_place_for_it(broker: str, tmp_path: Path) -> None:
    refused = pytest.raises(ConfigError, match="CELERIAC_DATABASE")
    with refused, systems.system(broker, tmp_path, celeriac):
        pass


def test_refused() -> None:
    mine = Celeriac()

    def call(a: int) -> None: ...

    for options, said in (
        ({"unique": 3}, "unique=3: give True"),
        ({"unique": Unique(key=("b",))}, "no argument 'b'.*it has a"),
        ({"concurrency": 0}, "1 or more"),
        ({"concurrency": True}, "give a number"),
        ({"rate": "often"}, "10/m"),
        ({"rate": "0/s"}, "10/m"),
    ):
        with pytest.raises(ConfigError, match=said):
            mine.task(**options)(call)  # type: ignore[call-overload]
    for wrong in ({"until": "later"}, {"period": -1}, {"period": "1h"}, {"key": ()}, {"key": 3}):
        with pytest.raises(ConfigError):
            Unique(**wrong)  # type: ignore[arg-type]
