"""A task that a worker does not know waits for one that does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_celeriac import Celeriac, operations
from flask_celeriac.broker.channel import Channel
from flask_celeriac.errors import DeadLetterError, StorageUnavailableError
from tests.support.processes import wait_for

from .conftest import working
from .systems import RECORDED, system


def double(number: int) -> int:
    return 2 * number


@pytest.fixture(params=[*RECORDED, "redis"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    options = {"result_backend": "cache+memory://"} if request.param == "redis" else {}
    with system(request.param, tmp_path, Celeriac(), **options) as app:
        yield app


def test_it_is_run_by_a_worker_of_the_next_version(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    celery: Any = app.extensions["celery"]
    caplog.set_level(logging.WARNING)
    sent = celery.send_task("next.double", (21,))
    recorded = celery.recorder.is_needed or celery.conf.broker_url.startswith("celeriac")
    first = operations.find(celery, sent.id) if recorded else None
    with working(app):
        wait_for(lambda: "is not known to this worker" in caplog.text, "it was not met")
        if first is not None:
            assert operations.why(celery, sent.id)[0].code == "unknown_name"
    assert not sent.ready()
    if first is not None:
        assert operations.find(celery, sent.id).created == first.created
    celery.task(double, name="next.double", shared=False)
    with working(app):
        assert sent.get(timeout=60) == 42


@pytest.mark.parametrize("app", ["embedded", "redis+postgresql"], indirect=True)
def test_it_is_given_up_in_time(app: Flask) -> None:
    celery: Any = app.extensions["celery"]
    object.__setattr__(celery.celeriac.settings.options, "unknown_task_patience", 0.5)
    sent = celery.send_task("next.never", (21,), {"key": "word"})
    with working(app), pytest.raises(DeadLetterError, match="No worker knew a task called"):
        sent.get(timeout=60)
    task = operations.show(celery, sent.id)
    assert (task.state, task.name, task.args, task.kwargs) == (
        "dead", "next.never", [21], {"key": "word"}
    )  # fmt: skip


@pytest.mark.parametrize("app", ["embedded"], indirect=True)
def test_it_is_tried_again_where_the_file_cannot_be_written(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    celery: Any = app.extensions["celery"]
    tries: list[str] = []
    put_off = Channel.put_off

    def fails_twice(channel: Channel, tag: str, *args: Any) -> bool:
        tries.append(tag)
        if len(tries) < 3:
            raise StorageUnavailableError("no room")
        return put_off(channel, tag, *args)

    monkeypatch.setattr(Channel, "put_off", fails_twice)
    sent = celery.send_task("next.later", (21,))
    with working(app):
        wait_for(lambda: len(tries) >= 3, "it was not tried again")
    celery.task(double, name="next.later", shared=False)
    with working(app):
        assert sent.get(timeout=60) == 42
