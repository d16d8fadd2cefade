"""Starting tasks over HTTP, looking at them, and changing what becomes of them."""

from __future__ import annotations

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from flask_celeriac import tables
from flask_celeriac.api import idempotency, queries, starting
from flask_celeriac.operations.sources import sources_of
from flask_celeriac.tables import audit
from tests.api.conftest import API, IDLE, Client

pytestmark = pytest.mark.usefixtures("worker")

#: Cursors that no list gave out.
FORGED = [
    base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    for text in (
        '[NaN, "a"]',
        '[Infinity, "a"]',
        '[1, "\\u0000"]',
        '[1, "\\ud800"]',
        "[" * 9999,
        "1",
    )
]
#: Seconds; what ends at once is not waited for longer.
LONG = 25


def audited(app: Flask, target: str) -> list[str]:
    with sources_of(app.extensions["celery"]).engine.connect() as connection:
        rows = connection.execute(select(audit.c.verb).where(audit.c.target == target))
        return [row.verb for row in rows.all()]


def queued(api: Client) -> str:
    """The id of a task that stays in its queue."""
    task = api.start("api.idle")
    assert task["state"] == "queued"
    return str(task["id"])


# --- starting -----------------------------------------------------------------------------------


def test_the_tasks_that_may_be_started_are_listed_with_their_arguments(api: Client) -> None:
    types = {each["name"]: each for each in api.get("/types")["types"]}
    assert "api.hidden" not in types
    assert types["api.add"]["description"] == "Add two numbers."
    schema = types["api.add"]["arguments"]
    assert schema["required"] == ["x"]
    assert schema["properties"]["x"]["type"] == "integer"
    assert types["api.day"]["arguments"]["properties"]["when"]["format"] == "date-time"


def test_a_started_task_is_answered_with_where_to_look_for_it(api: Client, app: Flask) -> None:
    response = api("POST", "/types/api.add/tasks", {"args": [1]})
    assert response.status_code == 202
    assert response.headers["Retry-After"] == "1"
    assert response.json is not None
    location = response.headers["Location"]
    assert location == f"{API}/tasks/{response.json['id']}"
    task = api.get(location.removeprefix(API) + f"?wait={LONG}")
    assert (task["state"], task["result"], task["error"]) == ("succeeded", 3, None)
    assert audited(app, task["id"]) == ["start"]


def test_who_prefers_to_wait_gets_the_result(api: Client) -> None:
    headers = {"Prefer": f"respond-async, wait={LONG}"}
    response = api("POST", "/types/api.add/tasks", {"kwargs": {"x": 1, "y": 1}}, headers=headers)
    assert response.status_code == 200
    assert response.headers["Preference-Applied"] == f"wait={LONG}"
    assert response.json is not None
    assert response.json["result"] == 2


def test_nobody_waits_longer_than_the_longest(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "LONGEST_WAIT", 0.01)
    response = api("POST", "/types/api.idle/tasks", {}, headers={"Prefer": "wait=600"})
    assert response.status_code == 202
    assert response.json is not None
    assert api.get(f"/tasks/{response.json['id']}?wait=600")["state"] == "queued"


def test_in_json_a_whole_number_may_have_a_fraction(api: Client) -> None:
    assert api.start("api.add", 1.0, y=2, wait=LONG)["result"] == 3


def test_a_failed_task_says_with_what(api: Client) -> None:
    task = api.start("api.fail", message="Too late", wait=LONG)
    assert (task["state"], task["result"]) == ("failed", None)
    assert (task["error"]["type"], task["error"]["message"]) == ("ValueError", "Too late")
    assert task["error"]["traceback"].startswith("Traceback")


def test_arguments_arrive_as_their_type_hints_say(api: Client) -> None:
    task = api.start("api.day", when="2026-11-21T08:00:00Z", wait=LONG)
    assert task["result"] == "2026-11-21T08:00:00Z"


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({"args": ["1"]}, ["/args/0"]),
        ({"kwargs": {"x": 1, "y": None}}, ["/kwargs/y"]),
        ({"kwargs": {"y": 1}}, ["/kwargs/x"]),
        ({"args": [1, 2, 3]}, ["/args/2"]),
        ({"args": [1], "kwargs": {"x": 1}}, ["/kwargs/x"]),
        ({"kwargs": {"x": 1, "z": 1}}, ["/kwargs/z"]),
        ({"x": 1}, ["/x"]),
        ([], [""]),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_their_places(
    api: Client, body: Any, places: list[str]
) -> None:
    response = api("POST", "/types/api.add/tasks", body)
    assert response.status_code == 422
    assert response.mimetype == "application/problem+json"
    assert response.json is not None
    assert [each["place"] for each in response.json["errors"]] == places


@pytest.mark.parametrize("name", ["api.hidden", "celery.backend_cleanup", "nothing"])
def test_only_marked_tasks_can_be_started(api: Client, name: str) -> None:
    response = api("POST", f"/types/{name}/tasks", {})
    assert response.status_code == 404
    assert response.json is not None
    assert response.json["type"] == "urn:flask-celeriac:unknown-type"


# --- the same request again ---------------------------------------------------------------------


def test_a_request_with_the_same_key_gets_the_same_task(api: Client, app: Flask) -> None:
    headers = {"Idempotency-Key": "same"}
    first, second = (
        api("POST", "/types/api.idle/tasks", {"args": [1]}, headers=headers) for _ in range(2)
    )
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.headers["Location"] == second.headers["Location"]
    assert first.json is not None
    assert audited(app, first.json["id"]) == ["start"]


def test_a_task_is_sent_again_once_for_a_key(api: Client, app: Flask) -> None:
    task_id, headers = queued(api), {"Idempotency-Key": "again"}
    api("POST", f"/tasks/{task_id}/revoke")
    first, second = (api("POST", f"/tasks/{task_id}/retry", headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.headers["Location"] == second.headers["Location"]
    assert first.json is not None
    assert first.json["retry_of"] == task_id
    assert audited(app, task_id) == ["start", "revoke", "retry"]
    other = api("POST", f"/tasks/{task_id}/retry", {"kwargs": {"number": 2}}, headers=headers)
    assert other.status_code == 422


def test_until_the_task_of_a_key_is_sent_others_are_told_to_wait(
    api: Client, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its record is there before, as on Redis."""
    headers, going, may_go = {"Idempotency-Key": "slow"}, threading.Event(), threading.Event()
    send = starting._send

    def slowly(*args: Any) -> Any:
        found = send(*args)
        going.set()
        may_go.wait(30)
        return found

    def post() -> TestResponse:
        return Client(app.test_client())("POST", "/types/api.idle/tasks", {}, headers=headers)

    monkeypatch.setattr(starting, "_send", slowly)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post)
        assert going.wait(30)
        second = post()
        may_go.set()
        assert first.result().status_code == 202
    assert second.status_code == 409
    assert second.json is not None
    assert second.json["type"] == "urn:flask-celeriac:key-in-progress"
    assert post().headers["Location"] == first.result().headers["Location"]


def test_a_key_is_good_for_one_request_only(api: Client) -> None:
    headers = {"Idempotency-Key": "other"}
    api("POST", "/types/api.idle/tasks", {"args": [1]}, headers=headers)
    response = api("POST", "/types/api.idle/tasks", {"args": [2]}, headers=headers)
    assert response.status_code == 422
    assert response.json is not None
    assert response.json["type"] == "urn:flask-celeriac:key-reused"


def test_while_a_request_is_answered_its_key_is_taken(api: Client, app: Flask) -> None:
    payload = idempotency.fingerprint("start", "api.idle", [], {})
    engine = sources_of(app.extensions["celery"]).engine
    with engine.begin() as connection:  # as a request does before it starts its task
        queries.add_key(
            connection, "", "busy", fingerprint=payload, task_id="not-yet", now=time.time()
        )
    headers = {"Idempotency-Key": "busy"}
    response = api("POST", "/types/api.idle/tasks", {}, headers=headers)
    assert response.status_code == 409
    assert response.headers["Retry-After"] == "1"
    with engine.begin() as connection:  # that request was cut off
        queries.remove_key(connection, "", "busy")
        queries.add_key(
            connection, "", "busy", fingerprint=payload, task_id="not-yet", now=time.time() - 120
        )
    response = api("POST", "/types/api.idle/tasks", {}, headers=headers)
    assert response.status_code == 202
    assert response.headers["Location"] == f"{API}/tasks/not-yet"


def test_a_key_is_forgotten_after_a_day(api: Client, app: Flask) -> None:
    headers = {"Idempotency-Key": "yesterday"}
    first = api("POST", "/types/api.idle/tasks", {"args": [1]}, headers=headers)
    engine = sources_of(app.extensions["celery"]).engine
    with engine.begin() as connection:
        mine = update(tables.idempotency).where(tables.idempotency.c.key == "yesterday")
        connection.execute(mine.values(created=time.time() - 86500))
    second, third = (
        api("POST", "/types/api.idle/tasks", {"args": [2]}, headers=headers) for _ in range(2)
    )
    assert (second.status_code, third.status_code) == (202, 202)
    assert first.headers["Location"] != second.headers["Location"] == third.headers["Location"]


def test_many_requests_with_one_key_at_once_start_one_task(api: Client, app: Flask) -> None:
    def ask(_: int) -> TestResponse:
        mine, headers = Client(app.test_client()), {"Idempotency-Key": "at-once"}
        return mine("POST", "/types/api.idle/tasks", {"args": [70707]}, headers=headers)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(24)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.headers["Location"] for answer in answers if answer.status_code == 202}) == 1
    assert len(api.get("/tasks?name=api.idle&text=70707")["tasks"]) == 1


def test_a_refused_request_leaves_its_key_free(api: Client) -> None:
    headers = {"Idempotency-Key": "free"}
    assert api("POST", "/types/api.add/tasks", {}, headers=headers).status_code == 422
    response = api("POST", "/types/api.add/tasks", {"args": [1]}, headers=headers)
    assert response.status_code == 202


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "é"])
def test_a_key_that_cannot_be_kept_is_refused(api: Client, key: str) -> None:
    response = api("POST", "/types/api.idle/tasks", {}, headers={"Idempotency-Key": key})
    assert response.status_code == 400


# --- looking ------------------------------------------------------------------------------------


def test_lists_are_filtered_and_go_on(api: Client) -> None:
    ids = [api.start("api.idle", number)["id"] for number in range(3)]
    path = f"/tasks?state=queued&state=scheduled&queue={IDLE}&limit=2"
    found, links = [], 0
    while path:
        response = api("GET", path)
        assert response.json is not None
        found += [task["id"] for task in response.json["tasks"]]
        link = response.headers.get("Link")
        assert (link is None) == (response.json["next"] is None)
        path = ""
        if link is not None:
            url, _, rel = link.partition("; ")
            assert rel == 'rel="next"'
            path, links = url.strip("<>").removeprefix(API), links + 1
    assert set(ids) <= set(found)
    assert len(set(found)) == len(found)
    assert links


def test_tasks_are_found_by_time_and_counted(api: Client) -> None:
    task = api.start("api.idle")
    since = f"created_after={task['created']}&name=api.idle"
    assert task["id"] in [each["id"] for each in api.get(f"/tasks?{since}")["tasks"]]
    assert api.get(f"/tasks/count?{since}") == {"count": 1, "capped": False}
    before = f"created_before={task['created']}"
    assert task["id"] not in [each["id"] for each in api.get(f"/tasks?{before}")["tasks"]]


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("stat=queued", "stat"),
        ("state=asleep", "state"),
        ("limit=0", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("created_after=yesterday", "created_after"),
        ("created_after=2026-11-21T08:00:00", "created_after"),
        ("name=%00", "name"),
        ("cursor=nonsense", "cursor"),
        *((f"cursor={cursor}", "cursor") for cursor in FORGED),
    ],
)
def test_a_query_that_means_nothing_is_refused_with_its_name(
    api: Client, query: str, place: str
) -> None:
    response = api("GET", f"/tasks?{query}")
    assert response.status_code == 400
    assert response.json is not None
    assert place in response.json["detail"]


def test_an_unknown_task_is_not_found(api: Client) -> None:
    for method, path in [
        ("GET", ""), ("GET", "/attempts"), ("GET", "/why"), ("POST", "/revoke"),
        ("POST", "/retry"), ("DELETE", ""),
    ]:  # fmt: skip
        response = api(method, f"/tasks/nothing{path}")
        assert response.status_code == 404
        assert response.json is not None
        assert response.json["type"] == "urn:flask-celeriac:unknown-task"


def test_what_has_not_changed_is_not_sent_again(api: Client) -> None:
    path = f"/tasks/{queued(api)}"
    etag = api("GET", path).headers["ETag"]
    assert api("GET", path, headers={"If-None-Match": etag}).status_code == 304
    assert api("POST", f"{path}/revoke").status_code == 202
    assert api("GET", path, headers={"If-None-Match": etag}).status_code == 200


def test_it_says_why_a_task_waits_and_how_it_was_tried(api: Client) -> None:
    path = f"/tasks/{queued(api)}"
    assert {"no_worker"} <= {each["code"] for each in api.get(f"{path}/why")["reasons"]}
    assert api.get(f"{path}/attempts") == {"attempts": []}


# --- changing -----------------------------------------------------------------------------------


def test_a_task_is_taken_back_once(api: Client, app: Flask) -> None:
    task_id = queued(api)
    response = api("POST", f"/tasks/{task_id}/revoke", {"terminate": False})
    assert response.status_code == 202
    assert api.get(f"/tasks/{task_id}")["state"] == "revoked"
    assert api("POST", f"/tasks/{task_id}/revoke").status_code == 409
    assert audited(app, task_id) == ["start", "revoke"]


def test_a_task_is_sent_again_as_another(api: Client) -> None:
    old = api.start("api.add", 1, wait=LONG)
    headers = {"Prefer": f"wait={LONG}"}
    again = api("POST", f"/tasks/{old['id']}/retry", headers=headers).json
    assert again is not None
    assert (again["retry_of"], again["result"]) == (old["id"], 3)
    other = api("POST", f"/tasks/{old['id']}/retry", {"args": [5]}, headers=headers).json
    assert other is not None
    assert other["result"] == 7


def test_arguments_that_a_task_does_not_take_any_more_are_no_fault_of_the_server(
    api: Client, app: Flask
) -> None:
    with app.app_context():
        celery = app.extensions["celery"]
        task_id = celery.send_task("api.hidden", ["too many"], queue=IDLE).id
    assert api("POST", f"/tasks/{task_id}/revoke").status_code == 202
    response = api("POST", f"/tasks/{task_id}/retry")
    assert response.json is not None
    assert (response.status_code, response.json["type"]) == (409, "urn:flask-celeriac:task-state")


def test_other_arguments_are_checked_and_for_marked_tasks_only(api: Client, app: Flask) -> None:
    old = api.start("api.add", 1, wait=LONG)
    response = api("POST", f"/tasks/{old['id']}/retry", {"args": ["one"]})
    assert response.status_code == 422
    result = app.extensions["celery"].tasks["api.hidden"].delay()
    result.get(timeout=LONG)
    response = api("POST", f"/tasks/{result.id}/retry", {"args": []})
    assert response.status_code == 422
    assert api("POST", f"/tasks/{result.id}/retry").status_code == 202


def test_only_what_has_ended_is_sent_again_or_forgotten(api: Client, app: Flask) -> None:
    task_id = queued(api)
    assert api("POST", f"/tasks/{task_id}/retry").status_code == 409
    assert api("DELETE", f"/tasks/{task_id}").status_code == 409
    api("POST", f"/tasks/{task_id}/revoke")
    response = api("DELETE", f"/tasks/{task_id}")
    assert (response.status_code, response.data) == (204, b"")
    assert api("GET", f"/tasks/{task_id}").status_code == 404
    assert audited(app, task_id) == ["start", "revoke", "discard"]


def test_many_are_changed_once_they_are_counted(api: Client, app: Flask) -> None:
    ids = [queued(api) for _ in range(3)]
    first = api.get(f"/tasks/{ids[0]}")["created"]
    chosen = {"name": "api.idle", "created_after": first}
    body = {"filter": {**chosen, "state": ["queued"]}, "expected": 2}
    response = api("POST", "/tasks/revoke", body)
    assert response.status_code == 409
    assert response.json is not None
    assert response.json["type"] == "urn:flask-celeriac:count-changed"
    response = api("POST", "/tasks/revoke", {**body, "expected": 3})
    assert response.json == {"done": 3, "refused": {}, "made": {}}
    body["filter"]["state"] = ["revoked"]
    body["expected"] = 3
    response = api("POST", "/tasks/discard", body)
    assert response.json == {"done": 3, "refused": {}, "made": {}}
    for task_id in ids:
        assert audited(app, task_id) == ["start", "revoke", "discard"]


def test_the_audit_of_many_names_what_was_sent_for_each(api: Client, app: Flask) -> None:
    task_id = queued(api)
    api("POST", f"/tasks/{task_id}/revoke")
    created = api.get(f"/tasks/{task_id}")["created"]
    chosen = {"state": ["revoked"], "created_after": created}
    response = api("POST", "/tasks/retry", {"filter": chosen, "expected": 1})
    assert response.json is not None
    made = response.json["made"][task_id]
    with sources_of(app.extensions["celery"]).engine.connect() as connection:
        (row,) = connection.execute(
            select(audit.c.details).where(audit.c.target == task_id, audit.c.verb == "retry")
        )
    assert json.loads(row.details) == {"many": True, "new": made}


def test_queues_are_paused_until_they_are_resumed(api: Client, app: Flask) -> None:
    def paused() -> bool:
        queues = {queue["name"]: queue for queue in api.get("/queues")["queues"]}
        return "night" in queues and queues["night"]["paused_since"] is not None

    for _ in range(2):
        assert api("PUT", "/queues/night/pause").status_code == 204
        assert paused()
    for _ in range(2):
        assert api("DELETE", "/queues/night/pause").status_code == 204
        assert not paused()
    assert audited(app, "night") == ["pause", "resume"]


def test_workers_are_listed_with_what_they_know(api: Client) -> None:
    (worker,) = api.get("/workers")["workers"]
    assert worker["pool"] == "solo"
    assert "api.add" in worker["tasks"]
