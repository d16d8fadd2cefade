"""The example `celery` as people use it: web server, worker, browser and mail server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.browser import page
from tests.support.examples import Example, System, dead_system
from tests.support.mail import smtp_server
from tests.support.processes import Running, free_port, wait_for

UNKNOWN = "b7a9a4f2-8d0c-4f6b-9d3e-000000000000"


@dataclass
class Desk:
    """A web server and a worker; nothing listens on their mail server's port until a test does."""

    system: System
    example: Example
    worker: Running
    mail_port: int

    def get(self, path: str) -> Any:
        answer = self.example.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, **form: object) -> Any:
        answer = self.example.post(path, data=form)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send_email(self, to: str, subject: str, body: str) -> str:
        path = "/".join(quote(part, safe="") for part in (to, subject, body))
        sent: str = self.get(f"/send_email/{path}")["id"]
        return sent

    def reaches(self, task_id: str, *states: str) -> Any:
        """The answer for a task, once it is in one of some states."""

        def look() -> Any:
            answer = self.get(f"/result/{task_id}")
            return answer if answer["state"] in states else None

        return wait_for(look, f"{task_id} in {states}; the worker wrote:\n{self.worker.output}")


@pytest.fixture(scope="module")
def desk(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    mail_port = free_port()
    folder = tmp_path_factory.mktemp(system.name)
    with Example("celery", folder, system, app="make_celery", MAIL_PORT=str(mail_port)) as example:
        example.web()
        # Celery's own command finds the application as well as ours does.
        celery = None if system.name == "embedded" else "make_celery"
        worker = example.worker("--concurrency", "2", celery=celery)
        yield Desk(system, example, worker, mail_port)


# --- what works -----------------------------------------------------------------------------------


def test_a_sum(desk: Desk) -> None:
    started = desk.get("/add/2/40")
    assert started.keys() == {"id"}
    assert desk.reaches(started["id"], "SUCCESS") == {
        "id": started["id"],
        "state": "SUCCESS",
        "result": 42,
    }


def test_a_sum_by_form(desk: Desk) -> None:
    started = desk.post("/tasks/add", a=-2, b=44)
    assert started.keys() == {"result_id"}
    path = f"/tasks/result/{started['result_id']}"
    answer = wait_for(lambda: (a := desk.get(path))["ready"] and a, "the sum")
    assert answer == {"ready": True, "successful": True, "value": 42}


def test_a_task_that_tells_its_progress(desk: Desk) -> None:
    path = f"/tasks/result/{desk.post('/tasks/process', total=2)['result_id']}"
    seen: list[Any] = []

    def ready() -> bool:
        seen.append(desk.get(path))
        return bool(seen[-1]["ready"])

    wait_for(ready, "the end of the task")
    done = {"ready": True, "successful": True, "value": {"current": 2, "total": 2}}
    steps = [{"current": 1, "total": 2}, {"current": 2, "total": 2}]
    assert seen.pop() == done
    assert all(not each["ready"] and each["successful"] is None for each in seen)
    assert all(each["value"] in (None, *steps) for each in seen)
    assert steps[0] in [each["value"] for each in seen]


# --- mails ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", ["Hello", "Grüße aus Zürich ✓ — 100 %", "S" * 300])
def test_a_mail_is_received(desk: Desk, subject: str) -> None:
    with smtp_server(desk.mail_port) as mailbox:
        task_id = desk.send_email("ada@example.com", subject, "First line\nsecond: ✓")
        assert desk.reaches(task_id, "SUCCESS")["result"] == "sent to ada@example.com"
        (mail,) = mailbox.mails
    assert mail["From"] == "sender@example.com"
    assert mail["To"] == mail["X-RcptTo"] == "ada@example.com"
    assert mail["Subject"] == subject
    assert mail.get_content().splitlines() == ["First line", "second: ✓"]


def test_a_long_line_is_folded_on_its_way(desk: Desk) -> None:
    line = "word " * 400 + "✓"
    with smtp_server(desk.mail_port) as mailbox:
        task_id = desk.send_email("ada@example.com", "Long", line)
        desk.reaches(task_id, "SUCCESS")
        (mail,) = mailbox.mails
    assert mail.get_content().splitlines() == [line]
    assert max(len(line) for line in mail.as_bytes().splitlines()) < 998


def test_a_mail_waits_for_a_mail_server_that_is_down(desk: Desk) -> None:
    task_id = desk.send_email("ada@example.com", "Late", "but there")
    answer = desk.reaches(task_id, "RETRY")
    assert answer["result"] is None
    assert "refused" in answer["error"]
    with smtp_server(desk.mail_port) as mailbox:
        desk.reaches(task_id, "SUCCESS")
        assert [mail["Subject"] for mail in mailbox.mails] == ["Late"]


def test_what_takes_seconds(desk: Desk) -> None:
    """A task whose result is not kept, and beside it one whose mail server stays down."""
    blocking = desk.post("/tasks/block")["result_id"]
    failing = desk.send_email("ada@example.com", "Never", "there")
    without_a_result(desk, blocking)
    answer = desk.reaches(failing, "FAILURE")
    assert answer["result"] is None
    assert "refused" in answer["error"]
    assert desk.get(f"/tasks/result/{failing}") == {
        "ready": True,
        "successful": False,
        "value": None,
        "error": answer["error"],
    }


def without_a_result(desk: Desk, task_id: str) -> None:
    """It succeeds, and nothing is kept."""
    desk.worker.sees(re.compile(rf"Task task_app\.tasks\.block\[{task_id}\] succeeded"))
    path = f"/tasks/result/{task_id}"
    if desk.system.name == "embedded":
        # The queue forgets it a moment after the worker has told that it succeeded.
        wait_for(lambda: desk.example.get(path).status_code == 404, "the task to be unknown")
    else:
        assert desk.get(path) == {"ready": False, "successful": None, "value": None}


def test_a_refused_address_is_not_tried_again(desk: Desk) -> None:
    with smtp_server(desk.mail_port, refused=["nobody@example.com"]) as mailbox:
        task_id = desk.send_email("nobody@example.com", "Hello", "there")
        assert "Nobody is here" in desk.reaches(task_id, "FAILURE", "RETRY")["error"]
        assert desk.get(f"/result/{task_id}")["state"] == "FAILURE"
        assert mailbox.mails == []


@pytest.mark.parametrize(
    "path",
    [
        "ada@example.com/Hello%0d%0aBcc:%20eve@example.com/body",
        "ada@example.com/Hello%0aBcc:%20eve@example.com/body",
        "ada@example.com/Hello%0dBcc:%20eve@example.com/body",
        "ada@example.com/Hello%e2%80%a8there/body",
        "ada@example.com/Hello%00there/body",
        "ada@example.com%0d%0aBcc:eve@example.com/Hello/body",
        "ada@example.com%0a/Hello/body",
        "ada@example.com,eve@example.com/Hello/body",
        "ada/Hello/body",
        "%c3%bc@example.com/Hello/body",
        "%ff@example.com/Hello/body",
        "ada@bücher.example/Hello/body",
    ],
)
def test_a_header_cannot_be_smuggled_in(desk: Desk, path: str) -> None:
    answer = desk.example.get(f"/send_email/{path}")
    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}


# --- failures -------------------------------------------------------------------------------------


def test_a_task_with_arguments_that_it_cannot_use(desk: Desk) -> None:
    sent = desk.example.start(
        *("celery", "-A", "make_celery", "call", "task_app.tasks.add", "--args", '["two", 40]')
    )
    assert sent.ends() == 0
    task_id = sent.output.split()[-1]
    answer = desk.reaches(task_id, "FAILURE")
    assert answer["error"].startswith("TypeError: ")
    form = desk.get(f"/tasks/result/{task_id}")
    assert form == {
        "ready": True,
        "successful": False,
        "value": None,
        "error": answer["error"],
    }


@pytest.mark.parametrize("path", [f"/result/{UNKNOWN}", f"/tasks/result/{UNKNOWN}", "/result/%00"])
def test_an_id_of_no_task(desk: Desk, path: str) -> None:
    answer = desk.example.get(path)
    if desk.system.name == "embedded":
        assert answer.status_code == 404
        assert "no task" in answer.json()["error"]
    else:  # Celery cannot tell it from a task that waits.
        assert answer.status_code == 200
        assert answer.json().get("ready", False) is False


@pytest.mark.parametrize(
    ("method", "path", "form", "status"),
    [
        ("GET", "/add/1/4503599627370497", None, 400),
        ("GET", f"/add/1/{'9' * 5000}", None, 404),
        ("GET", "/add/-1/2", None, 404),
        ("GET", "/add/one/2", None, 404),
        ("POST", "/add/1/2", None, 405),
        ("POST", "/tasks/add", {}, 400),
        ("POST", "/tasks/add", {"a": "1", "b": "two"}, 400),
        ("POST", "/tasks/add", {"a": "1", "b": "1" * 5000}, 400),
        ("POST", "/tasks/add", {"a": "1", "b": str(10**18)}, 400),
        ("POST", "/tasks/process", {"total": "0"}, 400),
        ("POST", "/tasks/process", {"total": "101"}, 400),
        ("GET", "/tasks/process", None, 405),
        ("GET", "/nowhere", None, 404),
    ],
)
def test_what_cannot_be_used(
    desk: Desk, method: str, path: str, form: dict[str, str] | None, status: int
) -> None:
    answer = desk.example.request(method, path, data=form)
    assert answer.status_code == status
    assert answer.json().keys() == {"error"}


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def nothing_there(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Example]:
    folder = tmp_path_factory.mktemp("dead")
    with Example("celery", folder, dead_system(request.param), app="make_celery") as example:
        example.web()
        yield example


@pytest.mark.parametrize(
    ("method", "path", "form"),
    [
        ("GET", "/add/1/2", None),
        ("GET", "/send_email/ada@example.com/Hello/body", None),
        ("POST", "/tasks/add", {"a": 1, "b": 2}),
        ("POST", "/tasks/block", None),
        ("POST", "/tasks/process", {"total": 3}),
        ("GET", f"/result/{UNKNOWN}", None),
        ("GET", f"/tasks/result/{UNKNOWN}", None),
    ],
)
def test_a_broker_that_is_down(
    nothing_there: Example, method: str, path: str, form: dict[str, int] | None
) -> None:
    answer = nothing_there.request(method, path, data=form)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "try again" in answer.json()["error"]


# --- in a browser ---------------------------------------------------------------------------------

#: Note every text that the output of the bar ever had.
WATCH = """
    window.texts = []
    new MutationObserver((changes) => {
        for (const change of changes)
            for (const node of change.addedNodes) window.texts.push(node.textContent)
    }).observe(document.querySelector("#process output"), { childList: true })
"""


def test_the_bar_counts_every_step(desk: Desk) -> None:
    with page() as opened:
        opened.goto(desk.example.url)
        opened.evaluate(WATCH)
        opened.locator("#process input").fill("3")
        opened.locator("#process button").click()
        opened.locator("#process output", has_text="done: 3 of 3").wait_for()
        assert opened.locator("#process progress").get_attribute("max") == "3"
        assert opened.locator("#process progress").evaluate("bar => bar.value") == 3
        texts = opened.evaluate("window.texts")
    assert texts[0] == "…"
    assert set(texts[1:-4]) <= {"waiting for a worker"}
    assert texts[-4:] == ["1 of 3", "2 of 3", "3 of 3", "done: 3 of 3"]


def test_the_other_forms_of_the_page(desk: Desk) -> None:
    with page() as opened:
        opened.goto(desk.example.url)
        opened.locator("#block button").click()
        opened.locator("#block output", has_text="started as").wait_for()
        opened.locator("#add button").click()
        opened.locator("#add output", has_text=re.compile("^42$")).wait_for()
        assert opened.problems == []
        opened.locator("#add input").first.fill("")
        opened.locator("#add button").click()
        opened.locator("#add output.failed", has_text="a has to be a whole number").wait_for()
        # A browser calls every refusal an error of its console's.
        assert all("400" in problem for problem in opened.problems)
        opened.problems.clear()


def test_the_page_tells_that_the_broker_is_down(nothing_there: Example) -> None:
    with page() as opened:
        opened.goto(nothing_there.url)
        opened.locator("#process button").click()
        opened.locator("#process output.failed", has_text="not available just now").wait_for()
        assert all("503" in problem for problem in opened.problems)
        opened.problems.clear()


def test_an_example_is_a_folder_of_its_own(tmp_path: Path) -> None:
    """What is installed with pip and imported by name is the same application."""
    system = System("embedded")
    with Example("celery", tmp_path, system, app="task_app:create_app") as example:
        example.environ["PYTHONPATH"] = str(example.folder / "src")
        example.web()
        assert "Background tasks" in example.get("/").text
