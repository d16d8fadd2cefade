"""The client in Python, against a server that answers as the HTTP API does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import flask
import pytest
from flask import Flask
from kombu import pools

from flask_celeriac import errors, operations
from flask_celeriac.api.events import Limits, events_response
from flask_celeriac.client import Client, Problem
from flask_celeriac.records.task_record import Filter, as_json, iso
from tests.services.conftest import working

from .streams import go_on, make_app, served

TOKEN = "let me in"


def problem(status: int, kind: str, detail: str, **headers: str) -> flask.Response:
    said = {"type": f"urn:test:{kind}", "title": kind, "status": status, "detail": detail}
    response = flask.jsonify(said)
    response.status_code, response.mimetype = status, "application/problem+json"
    response.headers.update(headers)
    return response


def task(task_id: str, status: int = 200) -> Any:
    return as_json(operations.show(flask.current_app.extensions["celery"], task_id)), status


def add_routes(app: Flask) -> None:
    """The routes of the HTTP API, as thin as they can be."""

    @app.before_request
    def guard() -> flask.Response | None:
        if flask.request.headers.get("Authorization") == TOKEN:
            return None
        return problem(403, "forbidden", "Say who you are")

    @app.errorhandler(errors.UnknownTaskError)
    def unknown(error: Exception) -> flask.Response:
        return problem(404, "unknown-task", str(error))

    @app.errorhandler(errors.TaskStateError)
    def state(error: Exception) -> flask.Response:
        return problem(409, "task-state", str(error))

    add_starting(app, app.extensions["celery"])
    add_lists(app, app.extensions["celery"])
    add_tasks(app, app.extensions["celery"])
    add_places(app, app.extensions["celery"])


def add_starting(app: Flask, celery: Any) -> None:
    keys: dict[str, str] = {}

    @app.get("/types")
    def types() -> Any:
        return {"types": [{"name": "streams.idle", "description": "?", "arguments": {}, "new": 1}]}

    @app.post("/types/<path:name>/tasks")
    def start(name: str) -> Any:
        body, key = flask.request.get_json(), flask.request.headers.get("Idempotency-Key", "")
        found = keys.get(key) or operations.start(celery, name, body["args"], body["kwargs"])
        if key:
            keys[key] = found
        if flask.request.headers.get("Prefer") == "wait=30":
            operations.wait(celery, found, 30)
        return task(found, 202)


def add_lists(app: Flask, celery: Any) -> None:
    @app.get("/tasks")
    def tasks() -> Any:
        asked = flask.request.args
        chosen = Filter(states=tuple(asked.getlist("state")), name=asked.get("name"))
        page = operations.list_tasks(celery, chosen, cursor=asked.get("cursor"), limit=2)
        return {**asdict(page), "tasks": [as_json(each) for each in page.tasks]}

    @app.get("/tasks/count")
    def count() -> Any:
        counted = operations.count(
            celery, Filter(states=tuple(flask.request.args.getlist("state")))
        )
        return {"count": counted.number, "capped": counted.capped}

    @app.post("/tasks/discard")
    def discard_many() -> Any:
        body = flask.request.get_json()
        chosen = Filter(states=tuple(body["filter"]["state"]))
        return asdict(
            operations.apply_to_many(celery, "discard", chosen, expected=body["expected"])
        )


def add_tasks(app: Flask, celery: Any) -> None:
    @app.get("/tasks/<task_id>")
    def show(task_id: str) -> Any:
        operations.wait(celery, task_id, float(flask.request.args.get("wait", 0)))
        return task(task_id)

    @app.delete("/tasks/<task_id>")
    def discard(task_id: str) -> Any:
        operations.discard(celery, task_id)
        return "", 204

    @app.get("/tasks/<task_id>/attempts")
    def attempts(task_id: str) -> Any:
        return {"attempts": [{"number": 1, "state": "retrying", "started": "2026-01-01T00:00:00Z"}]}

    @app.get("/tasks/<task_id>/why")
    def why(task_id: str) -> Any:
        return {"reasons": [asdict(reason) for reason in operations.why(celery, task_id)]}

    @app.post("/tasks/<task_id>/retry")
    def retry(task_id: str) -> Any:
        return task(operations.retry(celery, task_id, **flask.request.get_json()), 202)

    @app.post("/tasks/<task_id>/revoke")
    def revoke(task_id: str) -> Any:
        operations.revoke(celery, task_id, **flask.request.get_json())
        return task(task_id, 202)


def add_places(app: Flask, celery: Any) -> None:
    @app.get("/queues")
    def queues() -> Any:
        found = operations.list_queues(celery)
        return {"queues": [{**asdict(q), "paused_since": iso(q.paused_since)} for q in found]}

    @app.route("/queues/<path:name>/pause", methods=["PUT", "DELETE"])
    def pause(name: str) -> Any:
        {"PUT": operations.pause, "DELETE": operations.resume}[flask.request.method](celery, name)
        return "", 204

    @app.get("/workers")
    def workers() -> Any:
        return {"workers": [{"name": "w@here", "queues": ["celery"], "running": [], "tasks": []}]}

    refusals = iter(["now and then"])

    @app.get("/tasks/<task_id>/events")
    def events(task_id: str) -> Any:
        if next(refusals, None):
            return problem(503, "busy", "Later", **{"Retry-After": "0"})
        limits = Limits(connections=1000, life=0.3, heartbeat=0.05, again=0.01)
        return events_response(celery, task_id, limits)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    app = make_app(tmp_path_factory.mktemp("client"))
    add_routes(app)
    return app


@pytest.fixture(scope="module")
def client(app: Flask) -> Iterator[Client]:
    with served(app) as (host, port), working(app):
        yield Client(f"http://{host}:{port}/", headers={"Authorization": TOKEN})
    pools.reset()


def test_a_task_from_its_start_to_its_end(client: Client) -> None:
    go_on.clear()
    assert [(each.name, each.arguments) for each in client.types()] == [("streams.idle", {})]
    task = client.start("streams.steps", [2], idempotency_key="once")
    assert client.start("streams.steps", [2], idempotency_key="once").id == task.id
    assert not task.ended
    assert task.created.tzinfo is not None
    go_on.set()
    ended = client.task(task.id, wait=30)
    assert (ended.state, ended.result, ended.args) == ("succeeded", "done", [2])
    assert ended.progress is not None
    assert (ended.progress.current, ended.progress.message) == (2, "step")
    assert ended.finished is not None
    assert ended.finished >= task.created
    client.discard(task.id)
    with pytest.raises(Problem) as refused:
        client.task(task.id)
    assert (refused.value.status, refused.value.type) == (404, "urn:test:unknown-task")


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
    outcome = client.apply_to_many("discard", expected=1, state="revoked")
    assert (outcome.done, outcome.refused) == (1, {})
    assert client.attempts(sent[1].id)[0].started == datetime(2026, 1, 1, tzinfo=timezone.utc)


def test_failures(client: Client) -> None:
    task = client.start("streams.fails", wait=30)
    assert task.error is not None
    assert (task.error.type, task.error.message) == ("ValueError", "No")


def test_queues_and_workers(client: Client) -> None:
    client.pause("a/b c")
    (queue,) = (queue for queue in client.queues() if queue.name == "a/b c")
    assert queue.paused_since is not None
    client.resume("a/b c")
    assert [(each.name, each.queues) for each in client.workers()] == [("w@here", ["celery"])]


def test_whoever_may_not(client: Client) -> None:
    nobody = Client(client._url)
    with pytest.raises(Problem, match="Say who you are"):
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
