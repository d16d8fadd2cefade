"""The tasks of the conformance tests, and the two applications that have them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task, chain, chord, group
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from flask import Flask

from flask_celeriac import Celeriac

#: What the worker's processes are told in their environment.
BROKER, RESULTS, FOLDER = "CONFORMANCE_BROKER", "CONFORMANCE_RESULTS", "CONFORMANCE_FOLDER"

#: The same on both: what each does by default is not what is compared here.
SETTINGS: dict[str, Any] = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "worker_send_task_events": True,
    "task_send_sent_event": True,
    "worker_cancel_long_running_tasks_on_connection_loss": True,
    "broker_connection_retry_on_startup": True,
    "task_allow_error_cb_on_chord_header": True,
    "worker_hijack_root_logger": True,
}


def make_ours(folder: str) -> Celery:
    """A Flask application on the embedded broker."""
    flask_app = Flask("conformance", instance_path=folder)
    flask_app.config["CELERY"] = dict(SETTINGS)
    Celeriac(flask_app)
    app: Celery = flask_app.extensions["celery"]
    register(app)
    return app


def make_celerys(broker: str, results: str) -> Celery:
    """An application that knows nothing of this package."""
    app = Celery("conformance", broker=broker, backend=results, set_as_current=False)
    app.conf.update(SETTINGS)
    register(app)
    return app


def from_environment() -> Celery:
    if FOLDER in os.environ:
        return make_ours(os.environ[FOLDER])
    return make_celerys(os.environ[BROKER], os.environ[RESULTS])


class OutOfPaper(Exception):
    """What a task raises."""


def note(path: str, line: str) -> None:
    """Add a line to a file, whole."""
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


_declared: list[tuple[Any, dict[str, Any]]] = []


def task(**options: Any) -> Any:
    """Declare a task for both applications, under the name of its function."""

    def declare(function: Any) -> Any:
        _declared.append((function, options))
        return function

    return declare


def register(app: Celery) -> None:
    for function, options in _declared:
        app.task(name=function.__name__, shared=False, **options)(function)


@task()
def add(x: int, y: int) -> int:
    return x + y


@task()
def echo(value: Any = None) -> Any:
    return value


@task()
def total(numbers: Any) -> int:
    return sum(map(total, numbers)) if isinstance(numbers, list) else numbers


@task()
def fail(message: str = "no paper") -> None:
    raise OutOfPaper(message)


@task()
def write(value: Any, path: str) -> Any:
    note(path, str(value))
    return value


@task()
def on_error(request: Any, error: Any, traceback: Any, path: str) -> None:
    note(path, f"{request.id} {error}")


@task(bind=True)
def becomes_chain(self: Any, x: int) -> None:
    add = self.app.tasks["add"]
    raise self.replace(chain(add.s(x, 1), add.s(10)))


@task(bind=True)
def becomes_group(self: Any, x: int) -> None:
    add = self.app.tasks["add"]
    raise self.replace(group(add.s(x, n) for n in range(3)))


@task(bind=True)
def becomes_chord(self: Any, x: int) -> None:
    add, total = self.app.tasks["add"], self.app.tasks["total"]
    raise self.replace(chord([add.s(x, n) for n in range(3)], total.s()))


@task(bind=True, max_retries=5)
def flaky(self: Any, fails: int) -> int:
    if self.request.retries < fails:
        raise self.retry(countdown=0.01, exc=OutOfPaper("again"))
    retries: int = self.request.retries
    return retries


@task(
    bind=True,
    autoretry_for=(OutOfPaper,),
    retry_backoff=0.01,
    retry_jitter=False,
    max_retries=2,
)
def flaky_by_itself(self: Any, fails: int) -> int:
    if self.request.retries < fails:
        raise OutOfPaper(f"run {self.request.retries}")
    retries: int = self.request.retries
    return retries


@task(bind=True)
def progress(self: Any, path: str) -> str:
    self.update_state(state="PRINTING", meta={"page": 3})
    while not Path(path).exists():
        time.sleep(0.01)
    return "printed"


@task()
def wait(path: str) -> str:
    while not Path(path).exists():
        time.sleep(0.01)
    return "waited"


@task()
def hold(path: str) -> None:
    note(path, "held")
    time.sleep(600)


@task(soft_time_limit=0.2)
def careful() -> str:
    try:
        time.sleep(600)
    except SoftTimeLimitExceeded:
        return "in time"
    return "never"


@task(time_limit=0.5)
def careless() -> None:
    time.sleep(600)


@task(ignore_result=True)
def quiet(path: str) -> str:
    note(path, "here")
    return "nobody sees this"


@task(bind=True)
def ignored(self: Any) -> None:
    self.update_state(state="ASIDE", meta={"why": "later"})
    raise Ignore


@task(bind=True)
def family(self: Any) -> dict[str, Any]:
    request = self.request
    return {"id": request.id, "parent": request.parent_id, "root": request.root_id}


class Deadly(Task):  # type: ignore[type-arg]
    """Kills the process that sends it, the first time: before or after it was sent."""

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        path, when = (kwargs or {}).get("path"), (kwargs or {}).get("when")
        first = path is not None and not Path(path + ".killed").exists()
        if first:
            note(path + ".killed", str(os.getpid()))
        if first and when == "before":
            os.kill(os.getpid(), 9)
        sent = super().apply_async(args, kwargs, **options)
        if first and when == "after":
            os.kill(os.getpid(), 9)
        return sent


@task(base=Deadly)
def deadly(numbers: list[int], path: str, when: str) -> int:
    note(path, str(sum(numbers)))
    return sum(numbers)
