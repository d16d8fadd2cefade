"""What no waiting will mend ends a worker, and is told to a sender at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from flask_celeriac import sqlite
from flask_celeriac.errors import StorageError
from tests.broker.damage import FOREIGN, garbage
from tests.system.tasks import client, make_app
from tests.system.workers import Worker, worker


@pytest.mark.parametrize("damage", [garbage, FOREIGN[0]])
def test_a_worker_does_not_try_again_and_again(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "celeriac.db"
    damage(path)  # type: ignore[operator]
    started = Worker(sqlite.url_of(str(path)), "-P", "solo", log=tmp_path / "log")
    try:
        started.wait(100)
    finally:
        started.end()
    assert "Trying again" not in started.output()
    assert "Unrecoverable error" in started.output()


def test_a_sender_is_told_at_once_and_in_kombus_words(tmp_path: Path) -> None:
    path = tmp_path / "celeriac.db"
    garbage(path)
    app: Celery = make_app(sqlite.url_of(str(path)))
    with pytest.raises(OperationalError, match="flask celery db salvage"):
        app.tasks["add"].delay(1, 2)
    app.close()


def test_a_sender_is_told_that_the_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "celeriac.db"
    with client(sqlite.url_of(str(path))) as app:
        app.tasks["add"].delay(1, 2)
        path.unlink()
        time.sleep(sqlite.LOOK_EVERY)
        with pytest.raises(StorageError, match="deleted or replaced"):
            app.tasks["add"].delay(1, 2)


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_a_worker_ends_when_its_file_is_taken_away(tmp_path: Path, pool: str) -> None:
    path = tmp_path / "celeriac.db"
    url = sqlite.url_of(str(path))
    with worker(url, "-P", pool, log=tmp_path / "log") as running:
        with client(url) as app:
            assert app.tasks["add"].delay(1, 2).get(timeout=60) == 3
        os.rename(path, tmp_path / "moved")
        assert running.wait(100) == 1
        output = running.output()
    assert output.count("this worker ends") == 1
    assert output.count("Traceback") == 1  # Celery's own, of what ended it
    assert "Error on stopping" not in output
