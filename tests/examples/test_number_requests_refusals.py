"""What the web server does not take, and what it says when something else is down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.examples import dead_system

from .number_requests_support import Site

RID = "rid has to be a whole number from 0 to 2147483647."
NUMBERS = "numbers has to be a list of whole numbers from -1000000000 to 1000000000."
NUMBER_LIST = "numbers has to be a list of 1 to 10000 entries."
JOBS = "jobtodo has to be a list of sum or mul."
TASK_ID = "taskID has to be an id that this server gave out."


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A web server alone: nothing here may start a task."""
    with Site(tmp_path_factory.mktemp("numbers")) as site:
        site.serve()
        yield site
        assert site.queued() == 0


def request(**changes: Any) -> dict[str, Any]:
    return {"rid": 1, "numbers": [1, 2], "jobtodo": ["sum", "mul"]} | changes


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (request(rid="1x"), RID),
        (request(rid="1" * 5000), RID),
        (request(rid="٣"), RID),
        (request(rid=1.5), RID),
        (request(rid=True), RID),
        (request(rid=None), RID),
        (request(rid=-1), RID),
        (request(rid=2**31), RID),
        (request(numbers=[1, "2"]), NUMBERS),
        (request(numbers=[1, 2.5]), NUMBERS),
        (request(numbers=[1, True]), NUMBERS),
        (request(numbers=[1, 10**9 + 1]), NUMBERS),
        (request(numbers=[1, None]), NUMBERS),
        (request(numbers=[]), NUMBER_LIST),
        (request(numbers={}), NUMBER_LIST),
        (request(numbers=5), NUMBER_LIST),
        (request(numbers=[1] * 10_001), NUMBER_LIST),
        (request(jobtodo=["sum", "div"]), JOBS),
        (request(jobtodo=["sum", ["mul"]]), JOBS),
        (request(jobtodo=["sum"]), "jobtodo has to have one entry for each number: 2."),
        (request(jobtodo="sum"), "jobtodo has to be a list of 1 to 10000 entries."),
        ({"rid": 1, "numbers": [1]}, "There is no jobtodo"),
        ({}, "There is no numbers"),
        ([], "The body has to be a JSON object."),
        ("text", "The body has to be a JSON object."),
        (None, "The body has to be a JSON object."),
    ],
)
def test_a_request_that_cannot_be_used(site: Site, body: Any, why: str) -> None:
    refused(site, "POST", "/number_request", why, json_text=json.dumps(body))


@pytest.mark.parametrize(
    "text", ["", "{", '{"rid": 1', "[" * 100_000, '{"rid": ' + "1" * 5000 + "}", "nul"]
)
def test_a_body_that_is_not_json(site: Site, text: str) -> None:
    refused(site, "POST", "/number_request", "The body is not JSON: ", json_text=text)
    refused(site, "POST", "/update_request", "The body is not JSON: ", json_text=text)


def test_text_that_is_none(site: Site) -> None:
    for data, why in ((b"", "The body is empty: "), (b"\xff\xfe", "The body is not UTF-8: ")):
        answer = site.post("/number_request", data=data)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(why)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/number_request", "There is no rid: "),
        ("/number_request?rid=", RID),
        ("/number_request?rid=x", RID),
        ("/number_request?rid=-1", RID),
        ("/number_request?rid=99999999999", RID),
        ("/check_request", "There is no taskID: "),
        ("/check_request?taskID=", TASK_ID),
        ("/check_request?taskID=7", TASK_ID),
        ("/check_request?taskID=%00", TASK_ID),
        ("/check_request?taskID={00000000-0000-0000-0000-000000000000}", TASK_ID),
    ],
)
def test_a_question_without_an_answer(site: Site, path: str, why: str) -> None:
    refused(site, "GET", path, why)


def test_a_question_in_a_body_that_cannot_be_used(site: Site) -> None:
    refused(site, "GET", "/number_request", RID, json_text='{"rid": [1]}')
    refused(site, "GET", "/number_request", "The body is not JSON: ", json_text="rid=1")
    refused(site, "GET", "/check_request", TASK_ID, json_text='{"taskID": 7}')
    refused(site, "GET", "/check_request", TASK_ID, json_text='{"taskID": "\\ud800"}')


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"numbers_id": [0]}, "numbers_id has to be a list of whole numbers from 1 to 2147483647."),
        ({"numbers_id": "1"}, "numbers_id has to be a list of 1 to 10000 entries."),
        ({"result": [1, 2]}, "numbers_id, numbers and result have to be of the same length."),
        ({"result": [2**31]}, "result has to be a list of whole numbers"),
        ({"jobtodo_new": ["sum"]}, "jobtodo_new has to be a list of sum_Done or mul_Done."),
        ({"jobtodo_new": []}, "jobtodo_new has to be a list of 1 to 10000 entries."),
    ],
)
def test_results_that_cannot_be_used(site: Site, changes: dict[str, Any], why: str) -> None:
    body = {"numbers_id": [1], "numbers": [1], "jobtodo_new": ["sum_Done"], "result": [3]}
    refused(site, "POST", "/update_request", why, json_text=json.dumps(body | changes))


def refused(site: Site, method: str, path: str, why: str, json_text: str | None = None) -> None:
    headers = {"Content-Type": "application/json"}
    data = None if json_text is None else json_text.encode()
    answer = site.request(method, path, data=data, headers=headers)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].startswith(why)


def test_other_errors_are_json_too(site: Site) -> None:
    wrong_method = site.request("DELETE", "/number_request")
    assert wrong_method.status_code == 405
    assert set(wrong_method.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    assert "error" in wrong_method.json()
    assert site.get("/update_request").status_code == 405
    assert "error" in site.get("/nothing").json()
    too_large = site.post("/number_request", data=b"x" * (2**20 + 1))
    assert too_large.status_code == 413
    assert "error" in too_large.json()


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
def test_without_a_broker_nothing_is_half_done(name: str, tmp_path: Path) -> None:
    with Site(tmp_path, dead_system(name)) as site:
        site.serve()
        for answer in (
            site.post("/number_request", data=b"data"),
            site.post("/number_request", json=request()),
            site.get("/number_request?rid=1"),
            site.get("/check_request?taskID=00000000-0000-0000-0000-000000000000"),
        ):
            assert answer.status_code == 503, answer.text
            assert answer.headers["Retry-After"] == "5"
            assert answer.json() == {
                "error": "The broker or the store of results does not answer. Try again later."
            }
        assert site.rows("*") == []


def test_without_its_database_the_web_server_says_so(site: Site) -> None:
    site.execute("ALTER TABLE request RENAME TO elsewhere")
    try:
        answer = site.post("/number_request", json=request())
    finally:
        site.execute("ALTER TABLE elsewhere RENAME TO request")
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"] == "5"
    assert answer.json() == {"error": "The database does not answer. Try again later."}


def test_a_port_that_is_none_is_named(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        web = site.start("python", "wsgi_app.py", PORT="5000x")
        assert web.ends() == 1
        assert "PORT='5000x' has to be a whole number, such as 5000." in web.output
