"""A call that raised is not carried out later, from its record."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from celery.app.task import Context
from flask import Flask
from kombu.exceptions import OperationalError

from flask_celeriac import Celeriac, lost_tasks, operations
from flask_celeriac.errors import UnknownTaskError, UnserializableArgumentError
from flask_celeriac.worker import reconciler

from .gate import Gate
from .systems import system

celeriac = Celeriac()


@celeriac.task(name="unsent.double")
def double(number: int) -> int:
    return 2 * number


class Shop(NamedTuple):
    app: Flask
    celery: Any
    broker: Gate

    def is_recorded(self, task_id: str) -> bool:
        try:
            operations.show(self.celery, task_id)
        except UnknownTaskError:
            return False
        return True


@pytest.fixture(params=["redis+postgresql", "rabbitmq+mariadb"])
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    """An application whose broker is behind an open gate."""
    monkeypatch.setattr(reconciler, "AGE", 0.0)
    doors: list[Gate] = []
    with ExitStack() as stack:

        def behind(url: str) -> str:
            if not url.startswith(("redis", "amqp")):
                return url
            doors.append(stack.enter_context(Gate(url)))
            return doors[0].url

        app = stack.enter_context(system(request.param, tmp_path, celeriac, url_of=behind))
        doors[0].open()
        double.delay(0)
        yield Shop(app, app.extensions["celery"], doors[0])


def test_a_call_that_raised_has_no_record(shop: Shop) -> None:
    shop.broker.silent()
    for options in ({}, {"countdown": 60}):
        with pytest.raises(OperationalError):
            double.apply_async((1,), task_id="one", **options)
        assert not shop.is_recorded("one")
    shop.broker.open()
    double.apply_async((1,), task_id="one")
    assert shop.is_recorded("one")


@pytest.mark.parametrize("shop", ["redis+postgresql"], indirect=True)
def test_it_is_not_sent_as_if_it_were_lost(shop: Shop) -> None:
    shop.broker.silent()
    with pytest.raises(OperationalError):
        double.delay(1)
    with pytest.raises(OperationalError):
        double.delay_many([(1,), (2,)])
    shop.broker.open()
    assert reconciler.look(shop.celery, {}) == {}


def test_many_calls_that_raised_have_no_records(shop: Shop) -> None:
    ids = ["a", "b", "c"]
    shop.broker.silent()
    with pytest.raises(OperationalError):
        double.delay_many([(1,), (2,), (3,)], ids=ids)
    assert not any(map(shop.is_recorded, ids))
    shop.broker.open()
    with pytest.raises(UnserializableArgumentError):
        double.delay_many([(1,), (object(),), (3,)], ids=ids)
    assert not any(map(shop.is_recorded, ids))
    assert double.delay_many([(1,), (2,), (3,)], ids=ids) == 3
    assert all(map(shop.is_recorded, ids))


def test_one_that_was_taken_all_the_same_has_its_record(shop: Shop) -> None:
    known = {"id": "one", "task": "unsent.double", "args": [1], "kwargs": {}, "retries": 0}
    context = Context({**known, "hostname": "celery@here", "delivery_info": {}})
    double.apply_async((1,), task_id="one")
    shop.celery.recorder.began(context, again=False, limit=0)
    shop.celery.recorder.not_sent("one")
    assert operations.show(shop.celery, "one").state == "running"
    double.apply_async((1,), task_id="two")
    shop.celery.recorder.not_sent("two")
    assert not shop.is_recorded("two")


def test_what_carries_on_a_task_keeps_its_record(shop: Shop) -> None:
    ids = ["lost", "retried", "replaced"]
    for each in ids:
        double.apply_async((1,), task_id=each)
    shop.broker.silent()
    for options in ({"retries": 1}, {"replaced_task_nesting": 1}):
        task_id = "retried" if "retries" in options else "replaced"
        with pytest.raises(OperationalError):
            shop.celery.send_task("unsent.double", (1,), task_id=task_id, **options)
    found = lost_tasks.open_tasks(shop.celery, time.time(), 10)
    (lost,) = (each for each in found if each.task_id == "lost")
    with pytest.raises(OperationalError):
        lost_tasks.send_again(shop.celery, lost)
    assert all(map(shop.is_recorded, ids))
