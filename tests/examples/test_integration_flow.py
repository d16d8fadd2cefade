"""The integration example: one task on its way, and what happens without servers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.examples import EXAMPLES, Example, System, dead_system, named_by_url
from tests.support.flow import arrows
from tests.support.mail import Mailbox, smtp_server
from tests.support.processes import Running, wait_for
from tests.support.queues import counted

# An hour, so that what waits for its next attempt can be looked at.
APP = "app:create_app(RETRY_SECONDS=3600)"

STORED = """
import sys
from make_celery import celery

print(celery.backend.get_task_meta(sys.argv[1])["status"])
"""


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with smtp_server() as mailbox:
        yield mailbox


@pytest.fixture
def example(system: System, mailbox: Mailbox, tmp_path: Path) -> Iterator[Example]:
    with new_example(system, mailbox, tmp_path) as example:
        yield example


def new_example(system: System, mailbox: Mailbox, folder: Path) -> Example:
    mailbox.mails.clear()
    return Example("integration", folder, system, app=APP, FLASK_MAIL_PORT=str(mailbox.port))


def python(example: Example, code: str, *arguments: str) -> str:
    """Run a script in the example's folder; what it wrote."""
    run = example.start("python", "-c", code, *arguments)
    assert run.ends() == 0, run.output
    return run.output.strip()


def messages(example: Example) -> dict[str, int]:
    """How many messages wait in which queue."""
    return counted(example.broker_url, "mail", "celery")


# --- one task on its way ------------------------------------------------------------------------


class Journey:
    """What is seen of one mail at each arrow of the drawing, in this order."""

    def __init__(self, example: Example, mailbox: Mailbox) -> None:
        self.example = example
        self.mailbox = mailbox
        self.location = ""
        self.worker: Running | None = None

    @property
    def task_id(self) -> str:
        return self.location.rpartition("/")[2]

    def user_to_flask(self) -> None:
        form = {"recipient": "user@example.com", "content": "On my way"}
        answer = self.example.post("/send_email", data=form)
        assert (answer.status_code, answer.text) == (200, "Email sent!")
        self.location = answer.headers["Location"]

    def flask_to_broker(self) -> None:
        # No worker runs: the task waits, alone in its queue.
        assert messages(self.example) == {"mail": 1, "celery": 0}
        assert self.outcome() == {"id": self.task_id, "state": "PENDING"}

    def broker_to_worker(self) -> None:
        self.worker = self.example.worker(
            "-Q", "mail", "-P", "solo", celery="make_celery", FLASK_RETRY_SECONDS="3600"
        )
        self.worker.sees(f"Task app.tasks.send_email[{self.task_id}] received")

    def worker_to_recipient(self) -> None:
        (mail,) = self.mailbox.wait_for(1)
        assert mail["X-RcptTo"] == "user@example.com"
        assert mail.get_content().strip() == "On my way"

    def worker_to_backend(self) -> None:
        assert self.worker is not None
        self.worker.sees(f"Task app.tasks.send_email[{self.task_id}] succeeded")
        assert python(self.example, STORED, self.task_id) == "SUCCESS"
        wait_for(lambda: not any(messages(self.example).values()), "the queues to be empty")

    def backend_to_flask(self) -> None:
        assert self.outcome()["state"] == "SUCCESS"

    def flask_to_user(self) -> None:
        assert self.outcome()["result"]["recipient"] == "user@example.com"

    def outcome(self) -> dict[str, object]:
        answer = self.example.get(self.location)
        assert answer.status_code == 200
        found: dict[str, object] = answer.json()
        return found


def test_a_task_follows_the_drawing(example: Example, mailbox: Mailbox) -> None:
    example.web()
    journey = Journey(example, mailbox)
    for arrow in arrows(EXAMPLES / "integration" / "README.md"):
        getattr(journey, f"{arrow.source}_to_{arrow.target}".lower())()


def test_a_mail_that_waits_for_its_next_attempt_says_why(mailbox: Mailbox, tmp_path: Path) -> None:
    with new_example(System("embedded"), mailbox, tmp_path) as example:
        example.environ["FLASK_MAIL_PORT"] = "1"  # no mail server is there
        example.web()
        worker = example.worker("--all-queues", "-P", "solo")
        form = {"recipient": "user@example.com", "content": "Hello"}
        location = example.post("/send_email", data=form).headers["Location"]
        worker.sees(re.compile(r"retry: Retry in 3600s"))
        outcome = wait_for(
            lambda: (found := example.get(location).json())["state"] == "RETRY" and found,
            "the state to be RETRY",
        )
        assert "refused" in outcome["error"]
        assert len(outcome["attempts"]) == 1


# --- without servers ----------------------------------------------------------------------------

FORM = {"recipient": "user@example.com", "content": "Hello"}


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
def test_without_servers_the_answer_is_503(name: str, mailbox: Mailbox, tmp_path: Path) -> None:
    with new_example(dead_system(name), mailbox, tmp_path) as example:
        web = example.web()
        for method, path, form in (
            ("POST", "/send_email", FORM),
            ("POST", "/send_email/wait", FORM),
            ("GET", "/send_email/4711", None),
        ):
            answer = example.request(method, path, data=form)
            assert answer.status_code == 503, web.output
            assert int(answer.headers["Retry-After"]) > 0
            assert "Try again" in answer.json()["error"]
            assert "Location" not in answer.headers
        # The asynchronous error handler cannot send its task either.
        answer = example.get("/broken")
        assert answer.status_code == 500
        assert "Tell the operator" in answer.json()["error"]


def test_without_a_result_store_nothing_is_sent(
    rabbitmq_url: str, mailbox: Mailbox, tmp_path: Path
) -> None:
    dead = dead_system("rabbitmq").environ["CELERY_RESULT_BACKEND"]
    half = named_by_url("rabbitmq", rabbitmq_url, dead)
    with new_example(half, mailbox, tmp_path) as example:
        example.web()
        assert example.post("/send_email", data=FORM).status_code == 503
        assert messages(example) == {"mail": 0, "celery": 0}


def test_without_a_broker_nothing_is_stored(
    redis_url: str, mailbox: Mailbox, tmp_path: Path
) -> None:
    dead = dead_system("rabbitmq").environ["CELERY_BROKER_URL"]
    half = named_by_url("rabbitmq", dead, redis_url)
    with new_example(half, mailbox, tmp_path) as example, redis.Redis.from_url(redis_url) as store:
        example.web()
        assert example.post("/send_email", data=FORM).status_code == 503
        assert store.keys() == []
