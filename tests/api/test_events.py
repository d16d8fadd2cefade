"""Server-Sent Events of a task, read from a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import flask
import pytest
import sqlalchemy as sa
from celery import Celery
from flask import Flask
from kombu import pools

from flask_celeriac.api import events as api_events
from flask_celeriac.api.events import Limits, events_response, stream
from flask_celeriac.errors import UnknownTaskError
from flask_celeriac.operations import watching
from flask_celeriac.operations.sources import sources_of
from flask_celeriac.records import write_queries
from tests.services.conftest import working
from tests.support.processes import wait_for

from .streams import Stream, fails, go_on, idle, make_app, served, steps

Where = tuple[str, int]


@pytest.fixture(scope="class")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """An application whose streams have the limits of the request's query."""
    app = make_app(tmp_path_factory.mktemp("events"))

    @app.get("/tasks/<task_id>/events")
    def events(task_id: str) -> Any:
        limits = Limits(**{name: float(value) for name, value in flask.request.args.items()})
        try:
            return events_response(app.extensions["celery"], task_id, limits)
        except UnknownTaskError:
            flask.abort(404)

    return app


@pytest.fixture(scope="class")
def where(app: Flask) -> Iterator[Where]:
    with served(app) as where, working(app):
        yield where
    pools.reset()


@pytest.fixture(autouse=True)
def _gate() -> Iterator[None]:
    go_on.clear()
    yield
    go_on.set()


def send(app: Flask, task: Any, *args: Any) -> str:
    with app.app_context():
        return str(task.delay(*args).id)


def events_of(app: Flask, task: Any, *args: Any) -> str:
    """Where a new task's events are; a client that goes is noticed at once."""
    return f"/tasks/{send(app, task, *args)}/events?heartbeat=0.05"


def ended(app: Flask, where: Where, task: Any, *args: Any) -> tuple[str, str]:
    """An ended task: its path, and the id of its last event."""
    go_on.set()
    path = events_of(app, task, *args)
    with closing(Stream(where, path)) as events:
        return path, events.until_end()[-1][1]


def watchers() -> int:
    return sum(thread.name == "celeriac-watcher" for thread in threading.enumerate())


class TestEvents:
    """Their worker has ended when other tests start theirs: Celery has one in a process."""

    def test_a_task_from_its_beginning_to_its_end(self, app: Flask, where: Where) -> None:
        path = events_of(app, steps, 3)
        with closing(Stream(where, path)) as events:
            assert events.status == 200
            headers = events.response.headers
            assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert headers["Cache-Control"] == "no-cache, no-transform"
            assert headers["X-Accel-Buffering"] == "no"
            assert events.block() == {"retry": "2000"}
            seen = [events.event()]
            while seen[-1][2]["progress"] is None:
                seen.append(events.event())
            begun = seen[-1][2]
            go_on.set()
            seen += events.until_end()
        *changes, last, end = seen
        assert {kind for kind, _, _ in changes} == {"task"}
        assert {task["state"] for _, _, task in changes} <= {"queued", "running"}
        assert begun["progress"] == {"current": 0.0, "total": 3.0, "message": "step"}
        assert (last[0], last[2]["state"], last[2]["result"]) == ("task", "succeeded", "done")
        assert last[2]["progress"]["current"] == 3
        assert end == ("end", last[1], {"state": "succeeded"})
        ids = [each for _, each, _ in seen[:-1]]
        assert len(set(ids)) == len(ids)

    def test_a_client_that_comes_again(self, app: Flask, where: Where) -> None:
        path, last = ended(app, where, steps, 1)
        for known, kinds in ((None, ["task", "end"]), ("old", ["task", "end"]), (last, ["end"])):
            with closing(Stream(where, path, known)) as events:
                seen = events.until_end()
            assert [kind for kind, _, _ in seen] == kinds
            assert {each for _, each, _ in seen} == {last}

    def test_what_a_client_has_is_not_sent_again(self, app: Flask, where: Where) -> None:
        path = events_of(app, idle)
        with closing(Stream(where, path)) as events:
            kind, known, task = events.event()
        assert (kind, task["state"]) == ("task", "queued")
        with closing(Stream(where, f"{path}&life=0.3", known)) as events:
            assert events.block() == {"retry": "2000"}
            assert events.block() == {"": ""}
            assert events.until_end() == []

    def test_errors(self, app: Flask, where: Where) -> None:
        path, _ = ended(app, where, fails)
        with closing(Stream(where, path)) as events:
            (_, _, task), end = events.until_end()
        assert (task["state"], task["error"]["message"]) == ("failed", "No")
        assert end[2] == {"state": "failed"}

    def test_many_clients_and_one_watcher(self, app: Flask, where: Where) -> None:
        paths = [events_of(app, task) for task in (idle, idle)]
        paths += [events_of(app, steps, 1)] * 3
        clients = [Stream(where, path) for path in paths]
        assert [client.event()[0] for client in clients] == ["task"] * 5
        assert watchers() == 1
        go_on.set()
        for client in clients[2:]:
            assert client.until_end()[-1][0] == "end"
        for client in clients:
            client.close()

    def test_no_more_streams_than_there_may_be(
        self, app: Flask, where: Where, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Those of other tests may not have been noticed to be gone.
        monkeypatch.setattr(api_events, "_streams", api_events._Streams())
        path = events_of(app, idle)

        def opened() -> Stream | None:
            client = Stream(where, f"{path}&connections=2")
            if client.status == 200:
                return client
            assert (client.status, client.response.headers["Retry-After"]) == (503, "1")
            client.close()
            return None

        first, second = wait_for(opened, "a stream"), wait_for(opened, "a stream")
        assert opened() is None
        first.close()
        third = wait_for(opened, "the place of the first")
        second.close()
        third.close()

    def test_nobody_looks_when_nobody_watches(self, app: Flask, where: Where) -> None:
        path = events_of(app, idle)
        with closing(Stream(where, path)) as events:
            events.event()
            assert watchers() == 1
        wait_for(lambda: watchers() == 0, "the watcher to stop", 60)

    def test_unknown_tasks(self, where: Where) -> None:
        with closing(Stream(where, "/tasks/never-sent/events")) as events:
            assert events.status == 404


def test_one_query_a_look_for_all_who_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "TICK", 0.02)
    app = make_app(tmp_path)
    celery = app.extensions["celery"]
    ids = [send(app, idle) for _ in range(4)]
    looks: list[int] = []
    reads: list[str] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if "arguments" in statement:
            reads.append(statement)
        else:
            looks.append(len(parameters))

    engine = sources_of(celery).engine
    sa.event.listen(engine, "before_cursor_execute", note)
    watcher = watching.Watcher(celery)
    watches = [watcher.watch(ids[number % 4]) for number in range(200)]
    try:
        assert all(watch.change(60) for watch in watches)
        # Each task was read once, whoever waits for it.
        assert len(reads) == 4
        seen = len(looks)
        wait_for(lambda: len(looks) > seen + 3, "four more looks")
        assert set(looks[seen:]) == {4}
        assert len(reads) == 4
        assert not any(watch.change(0) for watch in watches)
    finally:
        for watch in watches:
            watch.close()
        sa.event.remove(engine, "before_cursor_execute", note)


def test_of_a_client_that_does_not_read_only_the_newest_is_kept() -> None:
    watch = watching.Watch(watching.Watcher(Celery()), "one")  # type: ignore[arg-type]
    for number in range(1000):
        watch.tell(watching.Change(f"running-{number}", None))
    found = watch.change(0)
    assert found is not None
    assert found.version == "running-999"
    assert watch.change(0) is None


def test_a_task_that_is_gone_has_ended(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    *_, end = stream(app.extensions["celery"], "gone")
    assert end == 'id: gone\nevent: end\ndata: {"state": null}\n\n'


@pytest.mark.parametrize("fixture", [None, "postgres_url", "mariadb_url"])
def test_versions_follow_every_write(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str | None
) -> None:
    config = {"CELERIAC_DATABASE": request.getfixturevalue(fixture)} if fixture else {}
    celery = make_app(tmp_path, **config).extensions["celery"]
    seen = [watching.versions(celery, {"one", "other"})]
    assert seen[0] == {"one": watching.GONE, "other": watching.GONE}
    for state in ("queued", "running", "running", "succeeded"):
        with sources_of(celery).engine.begin() as connection:
            values = {"task_id": "one", "state": state, "updated": time.time()}
            assert write_queries.write(connection, values)
        seen.append(watching.versions(celery, {"one", "other"}))
    assert len({found["one"] for found in seen}) == 5
    assert {found["other"] for found in seen} == {watching.GONE}
    assert seen[-1]["one"].startswith("succeeded-")
