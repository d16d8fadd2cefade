"""`examples/make_celery`: the function imported, and the function pasted, on every broker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.support.examples import EXAMPLES, Example, System, dead_system, new_system
from tests.support.flow import Arrow, arrows
from tests.support.processes import wait_for

README = EXAMPLES / "make_celery" / "README.md"
LARGEST = 2**53 - 1


@pytest.fixture(scope="module")
def ours(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    """The application with our function, its web server and a worker, as the document starts it."""
    into = tmp_path_factory.mktemp("make_celery")
    with Example("make_celery", into, system, app="your_application") as example:
        example.web()
        example.worker("-P", "solo", celery="your_application.celery")
        yield example


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


def test_wait_is_65(ours: Example) -> None:
    code = "from your_application import add_together as a; print(a.delay(23, 42).wait(timeout=60))"
    assert python(ours, code) == "65"


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
        code = "from by_hand import add_together as a; print(a.delay(23, 42).wait(timeout=60))"
        assert python(example, code) == "65"


def test_the_drawing_is_what_happens(system: System, tmp_path: Path) -> None:
    with (
        new_system(system.name) as alone,
        Example("make_celery", tmp_path, alone, app="your_application") as example,
    ):
        web = example.web()
        started = example.post("/sums", data={"a": 23, "b": 42})
        assert web.sees("POST /sums")
        task_id = started.json()["id"]
        assert example.get(f"/sums/{task_id}").json()["state"] == "PENDING"
        length = """
from your_application import celery
with celery.connection_for_read() as connection, connection.SimpleQueue("celery") as queue:
    print(queue.qsize())
"""
        waiting = python(example, length)
        worker = example.worker("-P", "solo", celery="your_application.celery")
        task = f"Task your_application.add_together[{task_id}]"
        wait = f"""
from your_application import add_together
print(add_together.AsyncResult("{task_id}").wait(timeout=60))
"""
        seen: dict[tuple[str, str], Callable[[], bool]] = {
            ("client", "web"): lambda: started.status_code == 202,
            ("web", "broker"): lambda: waiting == "1",
            ("broker", "worker"): lambda: bool(worker.sees(f"{task} received")),
            ("worker", "add_together"): lambda: bool(
                worker.sees("your_application adds 23 and 42")
            ),
            ("add_together", "results"): lambda: bool(worker.sees(f"{task} succeeded in")),
            ("results", "caller"): lambda: python(example, wait) == "65",
            ("results", "client"): lambda: at_its_end(example, task_id)["sum"] == 65,
        }
        drawn: list[Arrow] = arrows(README)
        assert [(arrow.source, arrow.target) for arrow in drawn] == list(seen)
        for arrow in drawn:
            assert seen[arrow.source, arrow.target](), arrow


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
