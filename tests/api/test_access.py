"""Who may do what over HTTP, and how requests that may not be answered are refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, abort
from kombu import pools
from kombu.exceptions import OperationalError

from flask_celeriac import Access, Celeriac, ConfigError
from flask_celeriac.api.routes import ROUTES
from tests.api.conftest import API, Client, make_app

Make = Callable[..., Client]

START = "/types/api.idle/tasks"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A client of an application with these hooks."""

    def make(**hooks: Any) -> Client:
        return Client(make_app(tmp_path, **hooks).test_client(use_cookies=False))

    yield make
    pools.reset()


def test_where_tasks_are_run_at_once_the_answer_is_what_became_of_them(tmp_path: Path) -> None:
    app = make_app(tmp_path, CELERY={"task_always_eager": True})
    api = Client(app.test_client())
    for headers in ({}, {"Idempotency-Key": "once"}, {"Prefer": "wait=5"}):
        response = api("POST", "/types/api.add/tasks", {"args": [40]}, headers=headers)
        assert response.status_code == 200
        assert response.json is not None
        assert (response.json["state"], response.json["result"]) == ("succeeded", 42)
    failed = api("POST", "/types/api.fail/tasks", {})
    assert failed.json is not None
    assert (failed.status_code, failed.json["error"]["message"]) == (200, "No")
    pools.reset()


# --- access -------------------------------------------------------------------------------------


def test_there_is_no_api_without_a_function_that_says_who_may() -> None:
    with pytest.raises(TypeError):
        Celeriac().api()  # type: ignore[call-arg]
    for access in (None, Access.OPERATE):
        with pytest.raises(ConfigError, match=r"Access\.NONE"):
            Celeriac().api(access=access)  # type: ignore[arg-type]


def test_a_mistyped_argument_is_told() -> None:
    with pytest.raises(ConfigError, match="did you mean streams="):
        Celeriac().api(access=lambda: Access.READ, stream=5)  # type: ignore[call-arg]


def test_there_are_no_more_streams_than_it_was_given(make: Make) -> None:
    for streams in (-1, True, 1.5, "9"):
        with pytest.raises(ConfigError, match="how many streams"):
            Celeriac().api(access=lambda: Access.READ, streams=streams)  # type: ignore[arg-type]
    api = make(streams=0)
    task_id = api.start("api.idle")["id"]
    response = api("GET", f"/tasks/{task_id}/events")
    assert (response.status_code, response.mimetype) == (503, "application/problem+json")
    assert int(response.headers["Retry-After"]) > 0


def test_who_may_do_nothing_sees_nothing(make: Make) -> None:
    api = make(access=lambda: Access.NONE)
    for route in ROUTES:
        response = api(route.method, route.path.replace("<", "").replace(">", ""))
        assert response.status_code == 403, route.path
        assert response.mimetype == "application/problem+json"


def test_who_may_look_changes_nothing(make: Make) -> None:
    api = make(access=lambda: Access.READ)
    assert api.get("/tasks")["tasks"] == []
    for route in ROUTES:
        if route.method != "GET":
            path = route.path.replace("<", "").replace(">", "")
            assert api(route.method, path).status_code == 403, path


def test_who_may_is_asked_in_each_request(make: Make) -> None:
    answers = iter([Access.OPERATE, Access.NONE])
    api = make(access=lambda: next(answers))
    assert api("GET", "/tasks").status_code == 200
    assert api("GET", "/tasks").status_code == 403


def test_the_function_may_answer_itself(make: Make) -> None:
    def access() -> Access:
        abort(401, description="Who are you?")

    response = make(access=access)("GET", "/tasks")
    assert response.status_code == 401
    assert response.json is not None
    assert response.json["detail"] == "Who are you?"


def test_an_answer_that_is_no_access_lets_nobody_in(make: Make) -> None:
    response = make(access=lambda: True)("GET", "/tasks")
    assert response.status_code == 500
    assert response.mimetype == "application/problem+json"


# --- ownership ----------------------------------------------------------------------------------


def test_everybody_sees_and_changes_their_own_tasks_only(make: Make) -> None:
    who = "ann"
    api = make(actor=lambda: who, owns=lambda task: f"actor:{who}" in task.labels)
    anns = api.start("api.idle")["id"]
    who = "bob"
    bobs = api.start("api.idle")["id"]
    assert [task["id"] for task in api.get("/tasks")["tasks"]] == [bobs]
    assert api.get("/tasks/count") == {"count": 1, "capped": False}
    for method, path in [
        ("GET", ""), ("GET", "?wait=1"), ("GET", "/attempts"), ("GET", "/why"), ("GET", "/events"),
        ("POST", "/revoke"), ("POST", "/retry"), ("DELETE", ""),
    ]:  # fmt: skip
        theirs, nobodys = (api(method, f"/tasks/{task}{path}") for task in (anns, "nothing"))
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.json == nobodys.json  # which does not tell one from the other
    body = {"filter": {"name": "api.idle"}, "expected": 2}
    assert api("POST", "/tasks/revoke", body).status_code == 409
    body["expected"] = 1
    assert api("POST", "/tasks/revoke", body).json == {"done": 1, "refused": {}, "made": {}}
    who = "ann"
    assert api.get(f"/tasks/{anns}")["state"] == "queued"


def test_keys_of_different_people_have_nothing_to_do_with_each_other(make: Make) -> None:
    who = "ann"
    api = make(actor=lambda: who)
    headers = {"Idempotency-Key": "1"}
    first = api("POST", START, {}, headers=headers).headers["Location"]
    who = "Ann"
    assert api("POST", START, {}, headers=headers).headers["Location"] != first


# --- rate limits --------------------------------------------------------------------------------


def test_a_key_shows_nobody_the_task_of_somebody_else(make: Make) -> None:
    """Where keys are shared, as nobody says who asks."""
    mine = []
    api = make(owns=lambda task: task.id in mine)
    headers = {"Idempotency-Key": "shared"}
    first = api("POST", START, {}, headers=headers)
    assert first.status_code == 202
    assert api("POST", START, {}, headers=headers).status_code == 404
    assert first.json is not None
    mine.append(first.json["id"])
    assert api("POST", START, {}, headers=headers).status_code == 202


def test_who_asks_too_often_is_told_when_to_ask_again(make: Make) -> None:
    api = make(limit=lambda verb: 2.5 if verb == "start" else None)
    response = api("POST", START, {})
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "3"
    assert api("GET", "/tasks").status_code == 200


# --- forged requests ----------------------------------------------------------------------------

SITE = "http://localhost"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Cookie": "session=1"}, 403),
        ({"Cookie": "session=1", "Authorization": "Bearer 1"}, 202),
        ({"Cookie": "session=1", "Sec-Fetch-Site": "same-origin"}, 202),
        ({"Cookie": "session=1", "Sec-Fetch-Site": "none"}, 202),
        ({"Cookie": "session=1", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Cookie": "session=1", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Cookie": "session=1", "Origin": SITE}, 202),
        ({"Cookie": "session=1", "Origin": "null"}, 403),
        ({"Cookie": "session=1", "Origin": "http://localhost.elsewhere.example"}, 403),
        # Browsers add passwords by themselves, too; programs say nothing of sites.
        ({"Authorization": "Basic YTpi"}, 202),
        ({"Authorization": "Basic YTpi", "Origin": SITE}, 202),
        ({"Authorization": "Basic YTpi", "Sec-Fetch-Site": "same-origin"}, 202),
        ({"Authorization": "Basic YTpi", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Authorization": "Basic YTpi", "Origin": "http://elsewhere.example"}, 403),
        ({"Authorization": "Negotiate YTpi", "Origin": "null"}, 403),
        ({"Authorization": "Bearer 1", "Origin": "http://elsewhere.example"}, 202),
    ],
)
def test_a_session_is_used_by_its_own_site_only(
    make: Make, headers: dict[str, str], status: int
) -> None:
    assert make()("POST", START, {}, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 404),
        ({"Sec-Fetch-Site": "same-origin"}, 404),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://elsewhere.example", "Content-Type": "text/plain"}, 403),
        ({"Origin": "http://elsewhere.example", "Content-Type": "application/json"}, 404),
        ({"Origin": "http://elsewhere.example", "Authorization": "Bearer 1"}, 404),
    ],
)
def test_who_is_let_in_by_address_sends_no_form_of_another_site(
    make: Make, headers: dict[str, str], status: int
) -> None:
    client = make().client
    answer = client.post(f"{API}/tasks/nobody-knows/revoke", headers=headers, data=b"")
    assert answer.status_code == status


def test_looking_needs_no_proof(make: Make) -> None:
    assert make()("GET", "/tasks", headers={"Cookie": "session=1"}).status_code == 200


# --- what cannot be answered --------------------------------------------------------------------


@pytest.mark.parametrize("text", ["{", "NaN", '{"args": [NaN]}', '"\\ud800"', b"\xff"])
def test_a_body_that_is_no_json_is_refused(make: Make, text: Any) -> None:
    response = make()("POST", START, data=text, content_type="application/json")
    assert response.status_code == 400


def test_a_body_that_says_it_is_no_json_is_refused(make: Make) -> None:
    response = make()("POST", START, data="{}", content_type="text/plain")
    assert response.status_code == 415


@pytest.mark.parametrize("size", [65_536, 65_537])
def test_a_body_has_64_kib_at_most(make: Make, size: int) -> None:
    text = json.dumps({"args": []})
    response = make()("POST", START, data=text.ljust(size), content_type="application/json")
    assert response.status_code == (202 if size == 65_536 else 413)


def test_a_body_of_unknown_length_is_no_way_around_that(make: Make) -> None:
    environ = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    response = make()(
        "POST", START, data=b" " * 100_000, content_type="application/json",
        environ_overrides=environ,
    )  # fmt: skip
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("DELETE", "/tasks", 405, "GET, HEAD, OPTIONS"),
        ("PATCH", "/tasks/1", 405, "GET, DELETE, HEAD, OPTIONS"),
        ("GET", "/tasks/retry", 405, "POST, OPTIONS"),
        ("OPTIONS", "/tasks", 204, "GET, HEAD, OPTIONS"),
        ("GET", "/", 404, None),
        ("GET", "/elsewhere/entirely", 404, None),
        ("GET", "/tasks/%00", 404, None),
        ("PUT", f"/queues/{'x' * 256}/pause", 404, None),
    ],
)
def test_what_is_not_there_is_refused_in_json(
    make: Make, method: str, path: str, status: int, allow: str | None
) -> None:
    response = make()(method, path)
    assert response.status_code == status
    assert response.headers.get("Allow") == allow
    if status != 204:
        assert response.mimetype == "application/problem+json"


def test_the_rest_of_the_application_keeps_its_own_errors(make: Make) -> None:
    api = make()
    response = api.client.get("/elsewhere")
    assert response.status_code == 404
    assert response.mimetype == "text/html"


def test_a_broker_out_of_reach_is_no_fault_of_the_request(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make()

    def limit(verb: str) -> float | None:
        raise OperationalError("Connection refused by secret-host")

    app = make_app_with_limit(api, limit)
    response = Client(app.test_client())("GET", "/tasks")
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "secret-host" not in response.text


def make_app_with_limit(api: Client, limit: Callable[[str], float | None]) -> Flask:
    app = Flask("limited", instance_path=api.client.application.instance_path)
    celeriac = Celeriac(app)
    app.register_blueprint(celeriac.api(access=lambda: Access.OPERATE, limit=limit), url_prefix=API)
    return app


def test_an_application_without_records_says_so(tmp_path: Path) -> None:
    app = Flask("other", instance_path=str(tmp_path))
    app.config["CELERY"] = {"broker_url": "memory://"}
    celeriac = Celeriac(app)
    app.register_blueprint(celeriac.api(access=lambda: Access.READ), url_prefix=API)
    response = Client(app.test_client())("GET", "/tasks")
    assert response.status_code == 501
    assert response.json is not None
    assert "CELERIAC_DATABASE" in response.json["detail"]


def test_hints_that_mean_nothing_are_the_applications_fault(tmp_path: Path) -> None:
    celeriac = Celeriac()

    def odd(thing: int) -> None: ...

    odd.__annotations__["thing"] = "Nowhere"
    celeriac.task(name="api.odd", http=True)(odd)
    app = Flask("odd", instance_path=str(tmp_path))
    celeriac.init_app(app)
    app.register_blueprint(celeriac.api(access=lambda: Access.READ), url_prefix=API)
    assert Client(app.test_client())("GET", "/types").status_code == 500


def test_a_queue_without_a_name_is_not_there_to_be_paused(make: Make) -> None:
    api = make(access=lambda: Access.OPERATE)
    assert api("PUT", "/queues//pause").status_code == 404
    assert "" not in [queue["name"] for queue in api.get("/queues")["queues"]]
