"""The tables beside the queue."""

from __future__ import annotations

import os
import threading
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import pytest
import sqlalchemy as sa
from celery import Celery

from flask_celeriac import database, sqlite
from flask_celeriac import tables as ours
from flask_celeriac.errors import RecordsUnavailableError
from tests.records.conftest import DATABASES, database_url
from tests.system.other import Other
from tests.system.tasks import client


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The engine's URL: without the result backend's prefix."""
    return database_url(request, request.param, tmp_path).removeprefix("celeriac+")


def make(url: str, pipe: Pipe) -> None:
    pipe.send("here")
    pipe.recv()
    try:
        engine = database.engine_for(url)
        pipe.send(tables(engine))
        engine.dispose()
    except BaseException as error:
        pipe.send(repr(error))
        raise


def tables(engine: sa.Engine) -> set[str]:
    return {name for name in sa.inspect(engine).get_table_names() if name.startswith("celeriac_")}


EXPECTED = {
    "celeriac_record",
    "celeriac_attempt",
    "celeriac_pause",
    "celeriac_dead_letter",
    "celeriac_unique",
    "celeriac_slot",
    "celeriac_rate",
    "celeriac_audit",
    "celeriac_idempotency",
    "celeriac_group",
    "celeriac_chord",
    "celeriac_chord_part",
    "celeriac_alembic_version",
}


def test_the_tables_are_made_once(url: str) -> None:
    engine = database.engine_for(url)
    assert tables(engine) == EXPECTED
    assert database.engine_for(url) is engine
    with engine.connect() as connection:
        rows = connection.execute(ours.revision.select()).all()
    assert rows == [(ours.REVISION,)]
    engine.dispose()


def test_processes_may_make_them_at_once(url: str) -> None:
    others = [Other(make, url) for _ in range(4)]
    for other in others:
        assert other.receive() == "here"
    for other in others:
        other.send("go")
    said = []
    for other in others:
        with other:
            said.append(other.receive())
    assert said == [EXPECTED] * 4


def test_threads_share_an_engine(url: str) -> None:
    engines: list[sa.Engine] = []
    threads = [
        threading.Thread(target=lambda: engines.append(database.engine_for(url))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, engines))) == 1
    engines[0].dispose()


def test_a_forked_child_and_its_parent_go_on_side_by_side(url: str) -> None:
    """Each with connections of its own, whichever ends first."""
    backend = url if url.startswith("celeriac:") else f"celeriac+{url}"
    with client(backend, broker="memory://") as app:
        app.backend.store_result("before", 1, "SUCCESS")
        pid = os.fork()
        if pid == 0:
            os._exit(0 if store(app, "child") else 1)
        assert store(app, "parent")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert store(app, "after")
        assert [app.AsyncResult(f"child {n}").result for n in range(20)] == list(range(20))


def store(app: Celery, name: str) -> bool:
    for number in range(20):
        app.backend.store_result(f"{name} {number}", number, "SUCCESS")
    return bool(app.AsyncResult("before").result == 1)


def test_only_storing_waits_for_a_database_out_of_reach(unused_tcp_port: int) -> None:
    url = f"celeriac+postgresql+psycopg://nobody@127.0.0.1:{unused_tcp_port}/none"
    app = Celery(backend=url, set_as_current=False)
    with pytest.raises(RecordsUnavailableError) as caught:
        app.AsyncResult("one").state  # noqa: B018 - asks the database
    assert not app.backend.exception_safe_to_retry(caught.value)
    assert app.backend.exception_safe_to_retry(caught.value.__cause__)
    app.close()


def test_the_embedded_file_is_the_brokers(tmp_path: Path) -> None:
    path = str(tmp_path / "celeriac.db")
    with client(sqlite.url_of(path)) as app:
        app.tasks["add"].delay(1, 2)
        app.backend.store_result("one", 1, "SUCCESS")
        with sqlite.file_at(path).connection() as db:
            names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema").fetchall()}
    assert {"message", "celeriac_record"} <= names
