"""Number requests over HTTP, on each broker: a web server, and a worker with beat."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.examples import EXAMPLES, System
from tests.support.flow import arrows

from .number_requests_support import NAME, Site

Seen = set[tuple[str, str]]


@pytest.fixture(scope="module")
def followed(
    system: System, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Seen]]:
    """The running example, and what its first request was seen to do."""
    with Site(tmp_path_factory.mktemp("numbers"), system) as site:
        yield site, follow_a_request(site)


@pytest.fixture
def site(followed: tuple[Site, Seen]) -> Site:
    return followed[0]


def follow_a_request(site: Site) -> Seen:
    """Start web server and worker around one request; which arrows of the drawing it took."""
    seen: Seen = set()
    web = site.serve()
    body = {"rid": 7, "numbers": [1], "jobtodo": ["sum"]}
    task_id = site.begin("POST", "/number_request", json=body)
    web.sees("POST /number_request HTTP/1.1")
    seen.add(("Client", "Flask"))
    assert site.queued() == 1
    assert site.check(task_id)["status"] == "PENDING"
    assert site.rows("*") == []
    seen.add(("Flask", "Broker"))

    worker = site.work()
    worker.sees(f"handle_number_requests[{task_id}] received")
    seen.add(("Broker", "Celery worker"))
    assert site.ended(task_id)["response"] == "OK"
    seen |= {("Celery worker", "Results"), ("Flask", "Results")}
    assert site.rows("request_id, numbers, jobToDo") == [(7, 1, "sum")]
    seen.add(("Celery worker", "Database"))

    worker.sees("Sending due task periodic_sum")
    task = worker.sees(re.compile(r"sum_task\[(\S+)\] succeeded in \S+ 'numbers processed: 1'"))
    assert f"sum_task[{task[1]}] received" in worker.output
    seen.add(("Celery beat", "Broker"))
    worker.sees(re.compile(r"sum.py is process \d+ and has numbers: 1"))
    seen.add(("Celery worker", "Processing"))
    web.sees("POST /update_request HTTP/1.1")
    worker.sees(re.compile(r"update_number_requests\S+ succeeded in \S+ {'updated': 1,"))
    seen.add(("Processing", "Flask"))
    assert site.rows("state, result_numbers") == [("done", 3)]
    return seen


def test_one_request_takes_every_arrow_of_the_drawing(followed: tuple[Site, Seen]) -> None:
    drawn = arrows(EXAMPLES / NAME / "README.md")
    assert followed[1] == {(arrow.source, arrow.target) for arrow in drawn}


@pytest.fixture
def rid() -> int:
    """A number that no other test gives its request."""
    return uuid.uuid4().int % 2**31


@pytest.mark.parametrize("data", ["data", "größe=3", "\x00", "{not json", "x" * 500_000])
def test_any_text_starts_a_task(site: Site, data: str) -> None:
    # What curl -d says of everything.
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    task_id = site.begin("POST", "/number_request", data=data.encode(), headers=headers)
    assert site.ended(task_id) == {
        "taskID": task_id,
        "status": "SUCCESS",
        "response": {"data": data, "length": len(data)},
    }


def test_numbers_are_processed_by_the_clock_again_and_again(site: Site, rid: int) -> None:
    site.store(rid, [1, 20, -300], ["sum", "mul", "mul"])
    assert site.done(rid) == {
        "rid": rid,
        "numbers": [1, 20, -300],
        "jobtodo": ["sum", "mul", "mul"],
        "state": ["done", "done", "done"],
        "result": [3, 40, -600],
    }
    later = (rid + 1) % 2**31
    site.store(later, [10**9], ["mul"])
    assert site.done(later)["result"] == [2 * 10**9]


def test_a_get_may_have_its_question_in_a_body(site: Site, rid: int) -> None:
    site.store(rid, [5], ["sum"])
    task_id = site.begin("GET", "/number_request", json={"rid": rid})
    site.ended(task_id)
    found = site.get("/check_request", json={"taskID": task_id}).json()
    assert found["status"] == "SUCCESS"
    assert found["response"]["rid"] == rid
    assert found["response"]["numbers"] == [5]


def test_a_task_that_fails_says_so(site: Site, rid: int) -> None:
    task_id = site.begin("GET", "/number_request", params={"rid": rid})
    assert site.ended(task_id) == {
        "taskID": task_id,
        "status": "FAILURE",
        "response": None,
        "error": f"There is no request with rid {rid}: POST it first.",
    }


def test_a_rid_is_given_once(site: Site, rid: int) -> None:
    body = {"rid": rid, "numbers": [1], "jobtodo": ["sum"]}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: site.post("/number_request", json=body), range(4)))
    started = [answer.json()["taskID"] for answer in answers if answer.status_code == 202]
    ended = [site.ended(task_id) for task_id in started]
    assert [task["status"] for task in ended].count("SUCCESS") == 1
    late = site.post("/number_request", json=body)
    assert late.status_code == 400
    why = f"There is a request with rid {rid} already: choose another rid."
    refusals = [answer for answer in (*answers, late) if answer.status_code != 202]
    assert {answer.json()["error"] for answer in refusals} == {why}
    assert {task["error"] for task in ended if task["status"] == "FAILURE"} <= {why}
    assert site.look_up(rid)["numbers"] == [1]


def test_a_number_that_is_done_stays_as_it_is(site: Site, rid: int) -> None:
    site.store(rid, [4], ["sum"])
    site.done(rid)
    (row,) = [row for row, of in site.rows("id, request_id") if of == rid]
    late = {"numbers_id": [row], "numbers": [4], "jobtodo_new": ["sum_Done"], "result": [5]}
    outcome = site.outcome("POST", "/update_request", json=late)
    assert outcome == {"updated": 0, "ignored": 1}
    assert site.look_up(rid)["result"] == [6]


def test_both_scripts_end_by_themselves(site: Site, rid: int) -> None:
    one = site.script("test/send_user_request.py", str(rid))
    assert one.splitlines() == [
        f"Request {rid}: OK",
        "sum of 1 is 3",
        "mul of 20 is 40",
        "sum of 300 is 302",
    ]
    with pytest.raises(AssertionError, match="choose another rid"):
        site.script("test/send_user_request.py", str(rid))
    many = site.script("test/send_large_user_request.py", str((rid + 1) % 2**31), "5000")
    assert many.splitlines()[-1] == "All of 5000 results are right."


def test_an_id_that_nobody_knows(site: Site, system: System) -> None:
    unknown = str(uuid.uuid4())
    answer = site.get("/check_request", params={"taskID": unknown})
    if system.name == "embedded":
        assert answer.status_code == 404
        assert answer.json() == {
            "error": "There is no such task: it was never sent, or its result has expired."
        }
    else:
        # Redis keeps nothing of a task that waits, so nobody can tell.
        assert answer.status_code == 200
        assert answer.json() == {"taskID": unknown, "status": "PENDING", "response": None}
