"""The client in Python, against the HTTP API behind a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import flask
import pytest
from flask import Flask
from kombu import pools

from flask_celeriac import Access
from flask_celeriac.api import events
from flask_celeriac.api.events import Limits
from flask_celeriac.client import Client, Problem
from tests.services.conftest import working

from .streams import celeriac, go_on, make_app, served

TOKEN = "let me in"


def access() -> Access:
    return Access.OPERATE if flask.request.headers.get("Authorization") == TOKEN else Access.NONE


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    app = make_app(tmp_path_factory.mktemp("client"))
    app.register_blueprint(celeriac.api(access=access), url_prefix="/api")
    return app


@pytest.fixture(scope="module")
def client(app: Flask) -> Iterator[Client]:
    soon = Limits(connections=1000, life=0.3, heartbeat=0.05, again=0.01)
    patch = pytest.MonkeyPatch()
    patch.setattr(events, "LIMITS", soon)
    with served(app) as (host, port), working(app):
        yield Client(f"http://{host}:{port}/api/", headers={"Authorization": TOKEN})
    patch.undo()
    pools.reset()


def test_a_task_from_its_start_to_its_end(client: Client) -> None:
    go_on.clear()
    types = {each.name: each for each in client.types()}
    assert types["streams.steps"].arguments["properties"]["n"]["type"] == "integer"
    task = client.start("streams.steps", [2], idempotency_key="once")
    assert client.start("streams.steps", [2], idempotency_key="once").id == task.id
    assert not task.ended
    assert task.created.tzinfo is not None
    go_on.set()
    ended = client.task(task.id, wait=30)
    assert (ended.state, ended.result, ended.kwargs) == ("succeeded", "done", {"n": 2})
    assert ended.progress is not None
    assert (ended.progress.current, ended.progress.message) == (2, "step")
    assert ended.finished is not None
    assert ended.finished >= task.created
    again = client.retry(task.id, idempotency_key="again")
    assert again.retry_of == task.id
    assert client.retry(task.id, idempotency_key="again").id == again.id
    client.discard(task.id)
    with pytest.raises(Problem) as refused:
        client.task(task.id)
    assert (refused.value.status, refused.value.type) == (404, "urn:flask-celeriac:unknown-task")


def test_events_go_on_after_every_lost_connection(client: Client) -> None:
    go_on.clear()
    task = client.start("streams.steps", [1])
    states, waited = [], 0
    for seen in client.events(task.id):
        states.append(seen.state)
        if seen.progress is not None and not waited:
            waited = 1
            client.task(task.id, wait=0.5)  # longer than the server lets a stream live
            go_on.set()
    assert states[-1] == "succeeded"
    assert [each.state for each in client.events(task.id)] == ["succeeded"]


def test_events_of_no_task(client: Client) -> None:
    with pytest.raises(Problem, match="404"):
        next(client.events("never-sent"))


def test_lists_and_changes(client: Client) -> None:
    sent = [client.start("streams.idle") for _ in range(5)]
    found = list(client.tasks(state="queued", name="streams.idle"))
    assert [task.id for task in found] == [task.id for task in reversed(sent)]
    assert (client.count(state=["queued"]).count, client.count().capped) == (5, False)
    reasons = client.why(sent[0].id)
    assert reasons[0].text
    assert client.revoke(sent[0].id).state == "revoked"
    with pytest.raises(Problem, match="409") as refused:
        client.revoke(sent[0].id)
    assert "cannot be revoked" in refused.value.detail
    assert client.retry(sent[0].id, []).retry_of == sent[0].id
    again = client.apply_to_many("retry", expected=1, state="revoked")
    assert client.task(again.made[sent[0].id]).retry_of == sent[0].id
    outcome = client.apply_to_many("discard", expected=1, state="revoked")
    assert (outcome.done, outcome.refused) == (1, {})
    assert client.attempts(sent[1].id) == []


def test_failures(client: Client) -> None:
    task = client.start("streams.fails", wait=30)
    assert task.error is not None
    assert (task.error.type, task.error.message) == ("ValueError", "No")


def test_queues_and_workers(client: Client) -> None:
    client.pause("a/b c")
    (queue,) = (queue for queue in client.queues() if queue.name == "a/b c")
    assert queue.paused_since is not None
    client.resume("a/b c")
    assert isinstance(client.workers(), list)


def test_whoever_may_not(client: Client) -> None:
    nobody = Client(client._url)
    with pytest.raises(Problem, match="no access"):
        nobody.workers()
    with pytest.raises(Problem, match="403"):
        next(nobody.events("any"))


def test_what_is_no_api(tmp_path: Path) -> None:
    app = Flask("other")
    with served(app) as (host, port), pytest.raises(Problem, match="404"):
        Client(f"http://{host}:{port}").workers()
    with pytest.raises(OSError, match="refused"):
        Client(f"http://{host}:{port}").workers()
    with pytest.raises(ValueError, match="http://"):
        Client("file:///etc")
