"""The integration example: a web server, and a worker for each queue."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.examples import Example, System
from tests.support.mail import Mailbox, smtp_server
from tests.support.processes import Running, wait_for

APP = "app:create_app(RETRY_SECONDS=0.1)"
OPERATOR = "operator@example.com"
BUSY = "451 I am busy"
UNKNOWN = "550 I know nobody of that name"


class Refusals(dict[str, list[str]]):
    """What the mail server says to a recipient, attempt by attempt, before it takes a mail."""

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if self.get(address):
            return self[address].pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"


@dataclass
class Service:
    example: Example
    mailbox: Mailbox
    refusals: Refusals
    mail_worker: Running
    other_worker: Running

    def post(self, **form: str) -> requests.Response:
        return self.example.post("/send_email", data=form)

    def send(self, recipient: str, content: str = "Hello") -> str:
        """Have a mail sent; the path of its outcome."""
        answer = self.post(recipient=recipient, content=content)
        assert (answer.status_code, answer.text) == (200, "Email sent!")
        return answer.headers["Location"]

    def outcome(self, location: str) -> Any:
        answer = self.example.get(location)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def finished(self, location: str) -> Any:
        def look() -> Any:
            found = self.outcome(location)
            return found if found["state"] in ("SUCCESS", "FAILURE") else None

        return wait_for(look, f"{location} to be finished")

    def mail(self, words: str) -> Any:
        """The one mail whose text has these words."""

        def look() -> Any:
            return [mail for mail in self.mailbox.mails if words in mail.get_content()]

        (mail,) = wait_for(look, f"a mail with {words!r}")
        return mail


@pytest.fixture(scope="module")
def service(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    into = tmp_path_factory.mktemp(system.name)
    with (
        smtp_server() as mailbox,
        Example("integration", into, system, app=APP, FLASK_MAIL_PORT=str(mailbox.port)) as example,
    ):
        refusals = Refusals()
        mailbox.handle_RCPT = refusals.handle_RCPT  # type: ignore[attr-defined]
        example.web()
        mail_worker = example.worker("-Q", "mail", "-n", "mail@%h", "-c", "1")
        other_worker = example.worker(
            "-Q", "celery", "-n", "other@%h", "-P", "solo", celery="make_celery"
        )
        yield Service(example, mailbox, refusals, mail_worker, other_worker)


def id_in(location: str) -> str:
    return location.rpartition("/")[2]


# --- sending ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipient", "content"),
    [
        ("user@example.com", "Hello"),
        ("o'neil+list@mail.example.com", "Schöne Grüße 🎈\n.\nFrom me"),
        ("user@bücher.example", "one line " * 500),
    ],
)
def test_a_mail_is_sent_and_its_outcome_told(
    service: Service, recipient: str, content: str
) -> None:
    location = service.send(recipient, content)
    outcome = service.finished(location)
    assert outcome["state"] == "SUCCESS"
    assert outcome["result"]["recipient"] == recipient
    assert len(outcome["result"]["attempts"]) == 1
    (mail,) = [mail for mail in service.mailbox.mails if id_in(location) in mail["Message-ID"]]
    assert mail["From"] == "sender@example.com"
    assert mail["X-RcptTo"] == recipient.replace("bücher", "xn--bcher-kva")
    assert mail.get_content().split() == content.split()


def test_an_async_view_sends_and_waits(service: Service) -> None:
    form = {"recipient": "waiting@example.com", "content": "Hello"}
    answer = service.example.post("/send_email/wait", data=form)
    while answer.status_code == 202:  # a busy machine may take more than the ten seconds
        answer = service.example.get(answer.headers["Location"])
        answer.status_code = 200 if answer.json()["state"] == "SUCCESS" else 202
    assert answer.json()["state"] == "SUCCESS"
    assert any(mail["To"] == "waiting@example.com" for mail in service.mailbox.mails)


def test_a_bug_is_answered_in_json_and_the_operator_told_by_an_async_handler(
    service: Service,
) -> None:
    answer = service.example.get("/broken", params={"from": "a test"})
    assert answer.status_code == 500
    assert "The operator has been told" in answer.json()["error"]
    mail = service.mail("GET /broken: RuntimeError('this view has a bug')")
    assert mail["To"] == OPERATOR


# --- queues -------------------------------------------------------------------------------------


def test_each_worker_takes_only_its_own_queue(service: Service) -> None:
    service.refusals["queues@example.com"] = [UNKNOWN]
    location = service.send("queues@example.com")
    service.mail(id_in(location))
    received = re.compile(r"Task app\.tasks\.(\w+)\[")
    assert set(received.findall(service.mail_worker.output)) == {"send_email"}
    assert set(received.findall(service.other_worker.output)) == {"report_failure"}


# --- failing and trying again -------------------------------------------------------------------


def test_a_busy_mail_server_is_asked_again_after_growing_waits(service: Service) -> None:
    service.refusals["later@example.com"] = [BUSY] * 3
    location = service.send("later@example.com")
    outcome = service.finished(location)
    assert outcome["state"] == "SUCCESS"
    check_waits(service, location, outcome["result"]["attempts"], [0.1, 0.2, 0.4])


def test_a_mail_that_was_never_taken_has_failed_and_the_operator_is_told(service: Service) -> None:
    service.refusals["never@example.com"] = [BUSY] * 5
    location = service.send("never@example.com")
    outcome = service.finished(location)
    assert outcome["state"] == "FAILURE"
    assert "I am busy" in outcome["error"]
    check_waits(service, location, outcome["attempts"], [0.1, 0.2, 0.4, 0.8])
    assert service.refusals["never@example.com"] == []
    report = service.mail(id_in(location))
    assert report["To"] == OPERATOR
    assert "To never@example.com" in report.get_content()
    assert "I am busy" in report.get_content()


def check_waits(service: Service, location: str, attempts: list[float], waits: list[float]) -> None:
    """The waits were as planned; a machine with much to do may only make them longer."""
    log = service.mail_worker.output
    planned = re.findall(rf"{id_in(location)}\] retry: Retry in ([\d.]+)s", log)
    assert [float(wait) for wait in planned] == waits
    gaps = [later - sooner for sooner, later in itertools.pairwise(attempts)]
    assert [gap >= wait for gap, wait in zip(gaps, waits, strict=True)] == [True] * len(waits)


def test_a_refused_recipient_is_final_and_the_report_of_it_is_tried_again(
    service: Service,
) -> None:
    service.refusals["nobody@example.com"] = [UNKNOWN]
    service.refusals[OPERATOR] = [BUSY] * 2
    location = service.send("nobody@example.com")
    outcome = service.finished(location)
    assert outcome["state"] == "FAILURE"
    assert "nobody of that name" in outcome["error"]
    assert len(outcome["attempts"]) == 1
    assert "nobody of that name" in service.mail(id_in(location)).get_content()
    # `autoretry_for` with `retry_backoff`
    waits = re.findall(r"report_failure\[\S+ retry: Retry in (\d+)s", service.other_worker.output)
    assert waits == ["1", "2"]


def test_a_task_that_was_sent_nonsense_past_the_form_has_failed(service: Service) -> None:
    arguments = json.dumps(["user@example.com\nBcc: all@example.com", "Hello"])
    call = service.example.start(
        "celery", "-A", "make_celery", "call", "app.tasks.send_email", "--args", arguments
    )
    assert call.ends() == 0, call.output
    outcome = service.finished(f"/send_email/{call.output.split()[-1]}")
    assert (outcome["state"], outcome["error"]) == ("FAILURE", "BadHeaderError")


# --- what cannot be used ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "status", "field"),
    [
        ({}, 400, "recipient"),
        ({"recipient": "user@example.com"}, 400, "content"),
        ({"content": "Hello"}, 400, "recipient"),
        ({"recipient": "user@example.com", "content": " \n"}, 422, "content"),
        *(
            ({"recipient": recipient, "content": "Hello"}, 422, "recipient")
            for recipient in (
                "",
                "user",
                "@example.com",
                "user@",
                "user@example.com\nBcc: all@example.com",
                "user@example.com\r\n\r\nBuy this",
                "user@exam\rple.com",
                "user@example.com, all@example.com",
                "user@example.com;all@example.com",
                "<user@example.com>",
                "User <user@example.com>",
                '"a b"@example.com',
                "us er@example.com",
                "user@example.com\x00",
                "user@example.com\u2028",
                "user@ex..example.com",
                "üser@example.com",
                "user@" + "x" * 64 + ".com",
                "u" * 65 + "@example.com",
                "u@" + "x." * 130 + "com",
                "u" * 50_000,
            )
        ),
    ],
)
def test_a_form_that_cannot_be_used_is_refused(
    service: Service, form: dict[str, str], status: int, field: str
) -> None:
    count = len(service.mailbox.mails)
    answer = service.post(**form)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["error"].startswith(f"{field}: ")
    assert "Location" not in answer.headers
    assert len(service.mailbox.mails) == count


def test_a_huge_form_is_refused(service: Service) -> None:
    answer = service.post(recipient="user@example.com", content="x" * 70_000)
    assert answer.status_code == 413
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/send_email", "POST"),
        ("DELETE", "/send_email", "POST"),
        ("POST", "/send_email/4711", "GET"),
    ],
)
def test_a_wrong_method_is_refused(service: Service, method: str, path: str, allowed: str) -> None:
    answer = service.example.request(method, path)
    assert answer.status_code == 405
    assert allowed in answer.headers["Allow"]
    assert answer.json()["error"]


@pytest.mark.parametrize("task_id", ["4711", "Grüße", "..%2f", "a" * 2000])
def test_nobody_knows_the_outcome_of_an_unknown_mail(
    service: Service, system: System, task_id: str
) -> None:
    answer = service.example.get(f"/send_email/{task_id}")
    if "%2f" in task_id or system.name == "embedded":
        assert answer.status_code == 404
        assert answer.json()["error"]
    else:
        assert answer.json() == {"id": task_id, "state": "PENDING"}


# --- the command line ---------------------------------------------------------------------------


def flask(folder: Path, *command: str) -> str:
    with Example("integration", folder, System("embedded"), app="app") as example:
        run = example.start("flask", *command)
        code = run.ends()
        assert code == 0, run.output
        return run.output


def test_flask_finds_the_factory_by_its_name(tmp_path: Path) -> None:
    routes = flask(tmp_path, "--app", "app", "routes")
    assert "/send_email/<task_id>" in routes


def test_flask_calls_the_factory_with_arguments(tmp_path: Path) -> None:
    app = "app:create_app(CELERY_TIMEZONE='Europe/Berlin')"
    settings = json.loads(flask(tmp_path, "--app", app, "celery", "config", "--json"))
    (timezone,) = [each for each in settings if each["setting"] == "timezone"]
    assert timezone["value"] == "Europe/Berlin"
    assert timezone["from"] == 'app.config["CELERY_TIMEZONE"]'


def test_flask_says_that_the_factory_takes_no_such_argument(tmp_path: Path) -> None:
    with Example("integration", tmp_path, System("embedded"), app="app") as example:
        run = example.start("flask", "--app", "app:create_app('production')", "routes")
        assert run.ends() == 2
        assert "could not be called with the specified arguments" in run.output
