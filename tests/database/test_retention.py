"""Records of tasks that ended long ago go, on each database; those of others stay."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_celeriac import Celeriac, ConfigError, states
from flask_celeriac.celery_app import FlaskCelery
from flask_celeriac.operations import pruning as operations
from flask_celeriac.operations import sources
from flask_celeriac.tables import attempt, audit, idempotency, record
from flask_celeriac.worker import pruning
from flask_celeriac.worker.pruning import DAY


@pytest.fixture
def app(url: str, tmp_path: Path) -> Iterator[FlaskCelery]:
    app = make(url, tmp_path)
    yield app
    sources.sources_of(app).engine.dispose()


def make(url: str, tmp_path: Path, **options: object) -> FlaskCelery:
    app = Flask("shop", instance_path=str(tmp_path / "instance"))
    if url.startswith("celeriac:"):
        app.config["CELERY"] = {"broker_url": url}
    else:
        app.config |= {"CELERIAC_DATABASE": url, "CELERY": {"broker_url": "memory://"}}
    Celeriac().init_app(app, **options)
    found = app.extensions["celery"]
    assert isinstance(found, FlaskCelery)
    return found


def add(app: FlaskCelery, state: str, days: float, *, count: int = 1) -> None:
    """Tasks that were sent a day before they came to a state, days ago."""
    updated = time.time() - days * DAY
    names = [f"{state} {days} {number}" for number in range(count)]
    with sources.sources_of(app).engine.begin() as connection:
        rows = [
            {"task_id": name, "state": state, "created": updated - DAY, "updated": updated}
            for name in names
        ]
        connection.execute(sa.insert(record), rows)
        tried = [{"task_id": name, "number": 1, "state": "retrying"} for name in names]
        connection.execute(sa.insert(attempt), tried)


def left(app: FlaskCelery, table: sa.Table = record) -> set[str]:
    with sources.sources_of(app).engine.connect() as connection:
        return set(connection.execute(sa.select(table.c.task_id)).scalars())


def test_a_round_deletes_what_is_older_than_the_configuration_says(app: FlaskCelery) -> None:
    for state in states.STATES:
        for days in (6, 8, 29, 31):
            add(app, state, days)
    assert pruning.prune(app, threading.Event()) == 3 + 4
    young = {f"{state} {days} 0" for state in states.STATES for days in (6, 8, 29, 31)}
    young -= {f"succeeded {days} 0" for days in (8, 29, 31)}
    young -= {f"{state} 31 0" for state in ("failed", "revoked", "expired", "dead")}
    assert left(app) == left(app, attempt) == young
    assert pruning.prune(app, threading.Event()) == 0


def test_records_are_deleted_in_batches_and_a_stop_is_heeded(
    app: FlaskCelery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 10)
    monkeypatch.setattr(pruning, "PAUSE", 0.0)
    add(app, states.SUCCEEDED, 8, count=25)
    counted = [operations.count_prunable(app, cap=cap) for cap in (20, 25)]
    assert [(count.number, count.capped) for count in counted] == [(20, True), (25, False)]
    assert operations.count_prunable(app, keep_succeeded=None).number == 0
    assert list(operations.prune_in_batches(app, None, DAY)) == []
    stopped = threading.Event()
    stopped.set()
    assert pruning.prune(app, stopped) == 10
    assert pruning.prune(app, threading.Event()) == 15


def test_notes_of_changes_and_keys_of_requests_go_too(
    app: FlaskCelery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "BATCH", 2)
    monkeypatch.setattr(pruning, "PAUSE", 0.0)
    now = time.time()
    with sources.sources_of(app).engine.begin() as connection:
        for days in (1, 364, 366, 367, 368):
            row = {"at": now - days * DAY, "verb": "revoke", "target": f"{days}"}
            connection.execute(sa.insert(audit).values(row))
        for hours in (1, 23, 25, 26, 27):
            row = {"scope": "", "key": f"{hours}", "fingerprint": "", "task_id": ""}
            connection.execute(sa.insert(idempotency).values(created=now - hours * 3600, **row))
    assert pruning.prune(app, threading.Event()) == 0
    with sources.sources_of(app).engine.connect() as connection:
        kept = connection.execute(sa.select(audit.c.target)).scalars().all()
        keys = connection.execute(sa.select(idempotency.c.key)).scalars().all()
    assert (sorted(kept), sorted(keys)) == (["1", "364"], ["1", "23"])


def test_a_database_that_fails_is_a_warning(
    app: FlaskCelery, caplog: pytest.LogCaptureFixture
) -> None:
    with sources.sources_of(app).engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE celeriac_attempt"))
    with caplog.at_level(logging.WARNING):
        add_record_alone(app)
        assert pruning.prune(app, threading.Event()) == 0
    assert "Old records cannot be deleted, trying again later" in caplog.text


def add_record_alone(app: FlaskCelery) -> None:
    with sources.sources_of(app).engine.begin() as connection:
        values = {"task_id": "a", "state": "succeeded", "created": 1.0, "updated": 1.0}
        connection.execute(sa.insert(record).values(values))


class Worker:
    """As much of a worker as the step needs."""

    def __init__(self, app: FlaskCelery) -> None:
        self.app = app


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "pruning" in thread.name]


def test_the_step_prunes_in_a_thread_until_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "FIRST", 0.01)
    app = make("celeriac:///" + str(tmp_path / "celeriac.db"), tmp_path)
    add(app, states.SUCCEEDED, 8)
    worker = Worker(app)
    step = pruning.Pruning(worker)
    step.start(worker)
    assert len(threads()) == 1
    end = time.monotonic() + 20
    while left(app) and time.monotonic() < end:
        time.sleep(0.01)
    step.stop(worker)
    assert left(app) == set()
    assert threads() == []
    sources.sources_of(app).engine.dispose()


def test_what_is_kept_for_ever_stays(tmp_path: Path) -> None:
    url = "celeriac:///" + str(tmp_path / "celeriac.db")
    app = make(url, tmp_path, keep_succeeded=0, keep_others="0", keep_audit=0)
    assert pruning.kept_audit(app) is None
    add(app, states.SUCCEEDED, 1000)
    assert pruning.prune(app, threading.Event()) == 0
    sources.sources_of(app).engine.dispose()


@pytest.mark.parametrize("value", [-1, "a week", True, float("nan"), float("inf"), [7], 1e9])
@pytest.mark.parametrize("key", ["keep_succeeded", "keep_others", "keep_audit"])
def test_a_number_of_days_is_needed(key: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{key}.*give a number of days, 0 for ever"):
        make("celeriac:///" + str(tmp_path / "celeriac.db"), tmp_path, **{key: value})
