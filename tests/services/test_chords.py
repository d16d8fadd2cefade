"""A worker sends the bodies of chords that another one left behind."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery import Celery

from flask_celeriac import Celeriac
from flask_celeriac.records import queries
from flask_celeriac.worker import chords

from .conftest import MakeApp, working

celeriac = Celeriac()


@celeriac.task(name="chords.total")
def total(numbers: list[int]) -> int:
    return sum(numbers)


def test_what_a_killed_worker_left_behind(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chords, "INTERVAL", 0.05)
    app = make_app()
    celeriac.init_app(app)
    celery: Celery[Any] = app.extensions["celery"]
    with app.app_context():
        body = total.s().set(task_id="the body")
        leave_behind(celery.backend, body, [1, 2, 3])
        with working(app):
            assert total.AsyncResult("the body").get(timeout=60) == 6


def leave_behind(backend: Any, body: Any, numbers: list[int]) -> None:
    """A chord whose members have all ended, and whose body nobody sends."""
    now = time.time()
    with backend.engine.begin() as connection:
        queries.begin_chord(connection, "a chord", None, now)
        queries.resize_chord(connection, "a chord", now, size=len(numbers))
        for number in numbers:
            part = queries.Part("a chord", str(number), number, "SUCCESS", backend.pack(number))
            queries.add_part(connection, part, now)
        queries.make_chord_due(connection, "a chord", backend.pack(body), now)
