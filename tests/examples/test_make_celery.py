"""`examples/make_celery`: the function imported, and the function pasted, on every broker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.examples import EXAMPLES, Example, System, dead_system, new_system
from tests.support.flow import arrows
from tests.support.processes import wait_for
from tests.support.queues import counted

README = EXAMPLES / "make_celery" / "README.md"
LARGEST = 2**53 - 1


Way = set[tuple[str, str]]


@pytest.fixture(scope="module")
def followed(
    system: System, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Example, Way]]:
    """The application with our function, as the document starts it, and its first sum's way."""
    into = tmp_path_factory.mktemp("make_celery")
    with Example("make_celery", into, system, app="your_application") as example:
        yield example, follow_a_sum(example)


@pytest.fixture
def ours(followed: tuple[Example, Way]) -> Example:
    return followed[0]


def follow_a_sum(example: Example) -> Way:
    """Start web server and worker around one sum; which arrows of the drawing it took."""
    seen: Way = set()
    web = example.web()
    started = example.post("/sums", data={"a": 23, "b": 42})
    web.sees("POST /sums")
    assert started.status_code == 202
    task_id = started.json()["id"]
    seen.add(("client", "web"))
    assert example.get(f"/sums/{task_id}").json()["state"] == "PENDING"
    assert counted(example.broker_url, "celery") == {"celery": 1}
    seen.add(("web", "broker"))

    worker = example.worker("-P", "solo", celery="your_application.celery")
    task = f"Task your_application.add_together[{task_id}]"
    worker.sees(f"{task} received")
    seen.add(("broker", "worker"))
    worker.sees("your_application adds 23 and 42")
    seen.add(("worker", "add_together"))
    worker.sees(f"{task} succeeded in")
    seen.add(("add_together", "results"))
    wait = f"""
from your_application import add_together
print(add_together.AsyncResult("{task_id}").wait(timeout=60))
print(add_together.delay(24, 42).wait(timeout=60))
"""
    assert python(example, wait).split() == ["65", "66"]
    seen.add(("results", "caller"))
    assert at_its_end(example, task_id)["sum"] == 65
    seen.add(("results", "client"))
    return seen


def python(example: Example, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=example.folder,
        env=example.environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ended(example: Example, response: requests.Response) -> dict[str, object]:
    """What a sum that was started tells in the end."""
    assert response.status_code == 202, response.text
    assert response.headers["Location"] == f"/sums/{response.json()['id']}"
    return at_its_end(example, response.json()["id"])


def at_its_end(example: Example, task_id: str) -> dict[str, object]:
    def look() -> dict[str, object] | None:
        answer = example.get(f"/sums/{task_id}")
        assert answer.status_code == 200, answer.text
        body: dict[str, object] = answer.json()
        return body if body["state"] != "PENDING" else None

    return wait_for(look, f"the sum {task_id}")


def test_the_drawing_is_what_happens(followed: tuple[Example, Way]) -> None:
    assert followed[1] == {(arrow.source, arrow.target) for arrow in arrows(README)}


@pytest.mark.parametrize(
    ("a", "b", "total"),
    [("23", "42", 65), ("-1", " 1 ", 0), (str(LARGEST), str(LARGEST), 2 * LARGEST), ("٣", "4", 7)],
)
def test_a_sum_over_http(ours: Example, a: str, b: str, total: int) -> None:
    body = ended(ours, ours.post("/sums", data={"a": a, "b": b}))
    assert (body["state"], body["sum"]) == ("SUCCESS", total)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"a": "1"},
        {"a": "1", "b": "two"},
        {"a": "1.5", "b": "1"},
        {"a": "1\r\nX: y", "b": "1"},
        {"a": "1", "b": str(LARGEST + 1)},
        {"a": "1", "b": "9" * 5000},
        {"a": "\N{SNOWMAN}", "b": "1"},
    ],
)
def test_numbers_that_are_none(ours: Example, form: dict[str, str]) -> None:
    refused = ours.post("/sums", data=form)
    assert refused.status_code == 400
    assert "whole numbers" in refused.json()["error"]


def test_json_is_not_a_form(ours: Example) -> None:
    refused = ours.post("/sums", json={"a": 1, "b": 2})
    assert (refused.status_code, "send a form" in refused.json()["error"]) == (400, True)


def test_the_wrong_method_and_the_wrong_page(ours: Example) -> None:
    wrong = ours.get("/sums")
    assert (wrong.status_code, "POST" in wrong.headers["Allow"]) == (405, True)
    assert "not allowed" in wrong.json()["error"]
    assert "not found" in ours.get("/sum").json()["error"]


def test_a_sum_that_failed_says_why(ours: Example) -> None:
    code = """
from your_application import celery
print(celery.send_task("your_application.add_together", args=["23", 42]).id)
"""
    body = at_its_end(ours, python(ours, code))
    assert body["state"] == "FAILURE"
    assert str(body["error"]).startswith("TypeError: ")


@pytest.mark.parametrize("task_id", ["no-such-sum", "\N{SNOWMAN}", "x" * 500])
def test_an_unknown_sum(ours: Example, system: System, task_id: str) -> None:
    answer = ours.get(f"/sums/{task_id}")
    if system.name == "embedded":
        assert answer.status_code == 404
        assert "POST /sums" in answer.json()["error"]
    else:  # nobody can tell
        assert answer.json() == {"id": task_id, "state": "PENDING"}


def test_the_pasted_function_adds_too(system: System, tmp_path: Path) -> None:
    with (
        new_system(system.name) as alone,
        Example("make_celery", tmp_path, alone, app="by_hand") as example,
    ):
        example.web()
        worker = example.worker("-P", "solo", celery="by_hand.celery")
        body = ended(example, example.post("/sums", data={"a": 23, "b": 42}))
        assert (body["state"], body["sum"]) == ("SUCCESS", 65)
        worker.sees("by_hand adds 23 and 42")


@pytest.mark.parametrize("app", ["your_application", "by_hand"])
@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
def test_a_broker_that_does_not_answer(name: str, app: str, tmp_path: Path) -> None:
    with Example("make_celery", tmp_path, dead_system(name), app=app) as example:
        example.web()
        for answer in (
            example.post("/sums", data={"a": 23, "b": 42}),
            example.get("/sums/some-id"),
        ):
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["Retry-After"]) > 0
            assert "send it again later" in answer.json()["error"]
