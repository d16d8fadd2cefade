"""The application factory: its file names the brokers, and its drawing is what happens."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.examples.conftest import Example, System, dead_system
from tests.support.flow import Arrow, arrows
from tests.support.markdown import ROOT
from tests.support.processes import Running, wait_for
from tests.support.queues import only_task_in

FOLDER = ROOT / "examples" / "app_factory"
SAMPLE_TASK = "server.controller.tasks.sample_task"


@dataclass
class Waiting:
    """A task that was sent while there was no worker: curl's answer, and what the broker has."""

    answer: dict[str, str]
    message: tuple[str, str, object]
    state: dict[str, str]


@dataclass
class Factory:
    """The example with its web server and a worker."""

    system: System
    example: Example
    web: Running
    worker: Running
    waiting: Waiting

    def finished(self, task_id: str) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            answer = self.example.get(f"/task/{task_id}")
            assert answer.status_code == 200, answer.text
            said: dict[str, Any] = answer.json()
            return None if said["state"] == "PENDING" else said

        return wait_for(ended, f"the end of {task_id}")


@pytest.fixture(scope="module")
def factory(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """On each broker; no variable names it, but no file, a YAML file, or a JSON file elsewhere."""
    into = tmp_path_factory.mktemp(system.name)
    settings = {"FLASK_TASK_SECONDS": "0.3"}
    if system.name == "rabbitmq":
        settings["FLASK_CONFIG"] = str(into / "api.json")
    with Example("app_factory", into, System(system.name), app="wsgi", **settings) as example:
        example.broker = system.environ.get("CELERY_BROKER_URL")
        content = {"port": example.port, "secret_key": "s3cret", "celery": in_file(system)}
        options: list[str] = []
        if system.name == "embedded":
            options = ["--port", str(example.port)]
        elif system.name == "redis":
            write(example.folder / "secrets" / "api-config.yaml", yaml.safe_dump(content))
        else:
            write(into / "api.json", json.dumps(content, indent="\t"))
        web = example.web("python", "./cli.py", *options)
        waiting = send_without_worker(example)
        name = None if system.name == "embedded" else "celery_worker.celery"
        worker = example.worker("--concurrency", "2", celery=name)
        yield Factory(system, example, web, worker, waiting)


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    """The example where nothing is configured."""
    with Example("app_factory", tmp_path, System("none"), app="wsgi") as example:
        yield example


def in_file(system: System) -> dict[str, str]:
    names = {"CELERY_BROKER_URL": "broker_url", "CELERY_RESULT_BACKEND": "result_backend"}
    return {names[variable]: url for variable, url in system.environ.items()}


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def send_without_worker(example: Example) -> Waiting:
    answer = curl("-X", "POST", f"localhost:{example.port}/task/")
    state = curl(f"localhost:{example.port}/task/{answer['task_id']}")
    return Waiting(answer, only_task_in(example.broker_url), state)


def curl(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "60", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=90,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def run(example: Example, code: str, **settings: str) -> str:
    program = example.start("python", "-c", code, **settings)
    assert program.ends() == 0, program.output
    return program.output.strip()


# --- one task ------------------------------------------------------------------------------------


def test_the_drawing_is_what_happens(factory: Factory) -> None:
    waiting = factory.waiting
    task_id = waiting.answer["task_id"]
    answer = factory.finished(task_id)
    stored = factory.example.start("celery", "-A", "celery_worker.celery", "result", task_id)
    assert stored.ends() == 0, stored.output
    the_time = answer.get("result", "")
    observed = {
        Arrow("you", "Flask app", "POST /task/"): "POST /task/ HTTP/1.1" in factory.web.output,
        Arrow("Flask app", "broker", "sample_task"): waiting.message == (SAMPLE_TASK, task_id, []),
        Arrow("Flask app", "you", "202 with task_id"): waiting.answer["state"] == "PENDING",
        Arrow("broker", "worker", "sample_task"): bool(
            factory.worker.sees(f"{SAMPLE_TASK}[{task_id}] received")
        ),
        Arrow("worker", "result backend", "the time"): bool(datetime.fromisoformat(the_time)),
        Arrow("you", "Flask app", "GET /task/task_id"): f"GET /task/{task_id}"
        in factory.web.output,
        Arrow("result backend", "Flask app", "state and result"): the_time in stored.output,
        Arrow("Flask app", "you", "SUCCESS and the time"): answer["state"] == "SUCCESS",
    }
    drawn = arrows(FOLDER / "README.md")
    assert drawn == list(observed)
    assert [arrow for arrow, seen in observed.items() if not seen] == []


def test_a_task_waits_for_a_worker(factory: Factory) -> None:
    task_id = factory.waiting.answer["task_id"]
    assert factory.waiting.state == {"task_id": task_id, "state": "PENDING"}


def test_starting_says_where_to_ask(factory: Factory) -> None:
    started = factory.example.post("/task/", data="whatever is sent: ü" * 1000)
    assert started.status_code == 202
    task_id = started.json()["task_id"]
    assert started.headers["Location"] == f"/task/{task_id}"
    assert factory.finished(task_id).keys() == {"task_id", "state", "result"}


def test_the_slash_may_be_left_out(factory: Factory) -> None:
    started = factory.example.post("/task", allow_redirects=False)
    assert (started.status_code, started.json()["state"]) == (202, "PENDING")


# --- failure -------------------------------------------------------------------------------------


def test_a_failed_task_says_so(factory: Factory) -> None:
    call = ["celery", "-A", "celery_worker.celery", "call", SAMPLE_TASK, "--args", '["soon"]']
    sent = factory.example.start(*call)
    assert sent.ends() == 0, sent.output
    answer = factory.finished(sent.output.split()[-1])
    assert answer["state"] == "FAILURE"
    assert "takes 0 positional arguments but 1 was given" in answer["error"]
    assert "POST /task/ starts another" in answer["error"]


@pytest.mark.parametrize("task_id", ["nobody", "ünknown", "x" * 2000, "a%00b", "%27;--"])
def test_an_unknown_task(factory: Factory, task_id: str) -> None:
    answer = factory.example.get(f"/task/{task_id}")
    if factory.system.name == "embedded":
        assert answer.status_code == 404
        assert "POST /task/ starts one" in answer.json()["error"]
    else:  # nobody can tell
        assert answer.status_code == 200
        assert answer.json()["state"] == "PENDING"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/task/", 405), ("DELETE", "/task/x", 405), ("GET", "/tasks", 404)],
)
def test_what_there_is_not_is_refused_in_json(
    factory: Factory, method: str, path: str, status: int
) -> None:
    answer = factory.example.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("name", ["embedded", "redis", "rabbitmq"])
def test_a_broker_that_is_down(example: Example, name: str) -> None:
    if name == "embedded":
        write(example.folder / "instance" / "celeriac" / "celeriac.db", "no database" * 1000)
    else:
        content = {"celery": in_file(dead_system(name))}
        write(example.folder / "secrets" / "api-config.yaml", yaml.safe_dump(content))
    example.web("python", "./cli.py", "--port", str(example.port))
    for answer in (example.post("/task/"), example.get("/task/x")):
        assert answer.status_code == 503
        assert answer.json()["error"].endswith("try again in a moment.")
        assert int(answer.headers["Retry-After"]) > 0


# --- the configuration ---------------------------------------------------------------------------


#: What the application is configured with, and where its Celery's settings come from.
SETTINGS = """
import json
from server.core import create_app

app = create_app()
found = {name: app.config[name] for name in ("PORT", "SECRET_KEY", "TASK_SECONDS")}
for name in ("broker_url", "result_backend"):
    origin = app.extensions["celeriac"].settings.origins.get(name, "nowhere")
    found[name] = [app.extensions["celery"].conf[name], str(origin)]
print(json.dumps(found))
"""


def settings(example: Example, **environ: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(example, SETTINGS, **environ))
    return found


def test_it_needs_no_file(example: Example) -> None:
    found = settings(example)
    assert [found[name] for name in ("PORT", "SECRET_KEY", "TASK_SECONDS")] == [8080, None, 5]
    url, origin = found["broker_url"]
    assert url.startswith("celeriac:")
    assert origin == "nowhere"


def test_the_readmes_command_puts_the_sample_in_its_place(example: Example) -> None:
    (command,) = re.findall(r"mkdir .*", (FOLDER / "README.md").read_text())
    subprocess.run(command, shell=True, cwd=example.folder, check=True)
    found = settings(example)
    assert (found["PORT"], found["SECRET_KEY"]) == (8080, "my_secret_key")
    place = "file secrets/api-config.yaml: celery."
    assert found["broker_url"] == ["amqp://localhost:5672", f"{place}broker_url"]
    assert found["result_backend"] == ["redis://localhost:6379", f"{place}result_backend"]


def test_secrets_are_not_committed() -> None:
    path = str(FOLDER / "secrets" / "api-config.yaml")
    ignored = ["git", "check-ignore", "--quiet", path]
    assert subprocess.run(ignored, cwd=ROOT, check=False).returncode == 0


def test_the_environment_wins(example: Example, tmp_path: Path) -> None:
    write(example.folder / "secrets" / "api-config.yaml", "port: [not, read]")
    celery = {"broker_url": "redis://in.the.file", "result_backend": "redis://in.the.file"}
    other = write(tmp_path / "other.json", json.dumps({"port": 8081, "celery": celery}))
    environ = {"CELERY_BROKER_URL": "amqp://in.the.environment", "FLASK_PORT": "8082"}
    found = settings(example, FLASK_CONFIG=other, **environ)
    assert found["PORT"] == 8082
    assert found["broker_url"][0] == "amqp://in.the.environment"
    assert found["result_backend"][0] == "redis://in.the.file"


def test_the_name_of_a_configuration_is_no_file(example: Example) -> None:
    write(example.folder / "secrets" / "api-config.yaml", "port: 8081")
    assert settings(example, FLASK_CONFIG="development")["PORT"] == 8081


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no configuration file {path}: create it, or correct the path"),
        ("port: 80\ncelery: {broker_url: [}\n", "{path}, line 2: this is not valid YAML"),
        ("- port\n", "{path}: the top of a configuration file is a mapping"),
        ("port: eighty\n", "port has to be a whole number from 1 to 65535, not 'eighty'"),
        ("port: true\n", "port has to be a whole number from 1 to 65535, not True"),
        ("secret_key: 4711\n", "secret_key has to be text, in quotes: correct it"),
        ("task_seconds: -1\n", "task_seconds has to be a number of seconds, not -1"),
        ("celery: {broker_url: rediss3://h}\n", "there is no broker called"),
    ],
)
def test_a_file_that_cannot_be_used(
    example: Example, tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "api.yaml"
    if content is not None:
        path.write_text(content)
    refuses(example.start("python", "./cli.py", FLASK_CONFIG=str(path)), said.format(path=path))


def test_a_worker_says_it_too(example: Example) -> None:
    worker = example.start("flask", "celery", "worker", FLASK_CONFIG="missing.yaml")
    refuses(worker, f"there is no configuration file {example.folder / 'missing.yaml'}")


def refuses(program: Running, why: str) -> None:
    assert program.ends() != 0
    assert program.output.startswith("Error: ")
    assert why in program.output
    assert "4711" not in program.output


# --- debug mode ----------------------------------------------------------------------------------


def test_a_change_restarts_the_server_and_nothing_is_left(example: Example) -> None:
    web = example.web("python", "./cli.py", "--host", "127.0.0.1", "--port", str(example.port))
    watching = example.folder / "server" / "controller" / "routes.py"
    wait_for(lambda: len(web.alive()) == 2, "the server and what restarts it")
    watching.write_text(watching.read_text().replace('"success"', '"changed"'))

    def changed() -> bool:
        try:
            return bool(example.get("/").json() == {"status": "changed"})
        except requests.ConnectionError:
            return False

    wait_for(changed, "the changed server")
    assert len(web.alive()) == 2
    web.stop()  # its main process alone is told; whatever is left fails
    assert web.alive() == []


def test_without_debug_mode_there_is_one_process(example: Example) -> None:
    web = example.web("python", "./cli.py", "--no-debug", "--port", str(example.port))
    assert example.get("/").json() == {"status": "success"}
    assert len(web.alive()) == 1
