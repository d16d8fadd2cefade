"""The public shapes of applications: how each is run, talked to, and given our import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from tests.support.processes import wait_for

#: A file's text and what stands there instead.
Change = tuple[str, str, str]


class Web:
    """The HTTP side of an application."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def post(self, path: str, **what: Any) -> requests.Response:
        return self._ok(requests.post(self.url + path, timeout=30, **what))

    def get(self, path: str, **what: Any) -> requests.Response:
        return self._ok(requests.get(self.url + path, timeout=30, **what))

    def poll(self, path: str, ended: Callable[[Any], bool], **what: Any) -> list[Any]:
        """Every body, until one says that the task has ended."""
        bodies: list[Any] = []

        def look() -> bool:
            bodies.append(self.get(path, **what).json())
            return ended(bodies[-1])

        wait_for(look, f"the end of {path}")
        return bodies

    @staticmethod
    def _ok(response: requests.Response) -> requests.Response:
        assert response.ok, response.text
        return response


@dataclass(frozen=True)
class Shape:
    """One public shape.

    :param talk: start a task as the application's clients do, and check what becomes of it.
    :param celery: what ``celery -A`` is given.
    :param flask: what ``flask --app`` is given.
    :param ours: the changes that put our import in the place of what was pasted or installed.
    :param plain: the change that only imports us, for a Celery that stays Celery's own; one shape
        has it for each way in which such a Celery gets its settings, and its tasks a context.
    :param ticks: whether it has a periodic task.
    :param urls: the names that the application reads broker and results from.
    """

    name: str
    talk: Callable[[Web], None]
    celery: str
    flask: str
    ours: tuple[Change, ...]
    plain: Change | None = None
    ticks: bool = True
    urls: tuple[str, str] = ("QUEUE_URL", "RESULTS_URL")

    def __str__(self) -> str:
        return self.name


def ends(body: Any) -> bool:
    return bool(body["state"] not in ("PENDING", "PROGRESS"))


def flask_module(web: Web) -> None:
    sent = web.post("/add", data={"a": 23, "b": 42}).json()
    bodies = web.poll(f"/result/{sent['result_id']}", lambda body: body["ready"])
    assert bodies[-1] == {"ready": True, "successful": True, "value": 65}


def flask_factory(web: Web) -> None:
    sent = web.post("/tasks/process", data={"total": 2}).json()
    bodies = web.poll(f"/tasks/result/{sent['result_id']}", lambda body: body["ready"])
    last = {"ready": True, "successful": True, "value": {"current": 2, "total": 2}}
    assert bodies[-1] == last
    waiting = [body["value"] for body in bodies[:-1]]
    assert {body["successful"] for body in bodies[:-1]} == {None}
    assert {"current": 1, "total": 2} in waiting
    assert web.post("/tasks/block").json().keys() == {"result_id"}
    sent = web.post("/tasks/add", data={"a": 23, "b": 42}).json()
    bodies = web.poll(f"/tasks/result/{sent['result_id']}", lambda body: body["ready"])
    assert bodies[-1] == {"ready": True, "successful": True, "value": 65}


def make_celery_update(web: Web) -> None:
    order = {"rid": 7, "numbers": [1, 2, 3], "jobtodo": ["sum"]}
    sent = web.post("/number_request", json=order)
    assert sent.status_code == 201
    bodies = web.poll("/check_request", lambda body: body["status"] != "PENDING", json=sent.json())
    assert bodies[-1] == {"status": "SUCCESS", "response": "7: sum is 6"}


def old_names(web: Web) -> None:
    sent = web.post("/messages/hello").json()
    bodies = web.poll(f"/status/{sent['task_id']}/", ends)
    assert bodies[-1] == {"state": "SUCCESS", "result": 1}
    assert web.get("/messages/").json() == ["hello"]


def namespace(web: Web) -> None:
    sent = web.post("/divide/6/2").json()
    assert web.poll(f"/divide/{sent['task_id']}", ends)[-1] == {"state": "SUCCESS", "result": 3}


def autofinalize(web: Web) -> None:
    sent = web.post("/sleep/5")
    assert sent.status_code == 202
    task_id, state = sent.json()["task_id"], sent.json()["state"]
    assert state in {"PENDING", "SUCCESS"}  # it asks after it has sent the task
    assert sent.json() == {"task_id": task_id, "state": state, "sleep_time": 5}
    bodies = web.poll(f"/sleep/{task_id}", ends)
    assert bodies[-1] == {
        "task_id": task_id,
        "state": "SUCCESS",
        "result": "1970-01-01T00:00:05+00:00",
    }


def init_celery(web: Web) -> None:
    sent = web.get("/hello").json()
    assert web.poll(f"/result/{sent['id']}", ends)[-1] == {"state": "SUCCESS", "result": "hello!"}


def longtask(web: Web) -> None:
    assert web.post("/").status_code == 204
    sent = web.post("/longtask")
    assert (sent.status_code, sent.json()) == (202, {})
    bodies = web.poll(sent.headers["Location"], ends)
    assert bodies[-1] == {
        "state": "SUCCESS", "current": 3, "total": 3, "status": "done", "result": 42,
    }  # fmt: skip
    # Its JavaScript takes any other state for the end.
    assert {body["state"] for body in bodies[:-1]} <= {"PENDING", "PROGRESS"}


def sum_by_id(web: Web) -> None:
    sent = web.post("/add/23/42").json()
    assert web.poll(f"/add/{sent['task_id']}", ends)[-1] == {"state": "SUCCESS", "result": 65}


CELERY_IMPORT = "from celery import Celery\n"
PLAIN_IMPORT = "import flask_celeriac  # noqa: F401\n" + CELERY_IMPORT
OUR_IMPORT = "from flask_celeriac import FlaskCelery as Celery\n"
FLASK_IMPORT = "from flask import Flask\n"
OUR_FUNCTION = FLASK_IMPORT + "from flask_celeriac import celery_init_app\n"

SHAPES = (
    Shape(
        "flask_module",
        flask_module,
        celery="example",  # whose `app` is the Flask application
        flask="example",
        ours=(("example.py", "from celery_setup", "from flask_celeriac"),),
    ),
    Shape(
        "flask_factory",
        flask_factory,
        celery="make_celery",
        flask="task_app",
        ours=(("task_app/__init__.py", "from .celery_setup", "from flask_celeriac"),),
        plain=(
            "task_app/celery_setup.py",
            "from celery import",
            "import flask_celeriac\nfrom celery import",
        ),
        ticks=False,
        urls=("FLASK_CELERY__broker_url", "FLASK_CELERY__result_backend"),
    ),
    Shape(
        "make_celery_update",
        make_celery_update,
        celery="wsgi_app.celery",
        flask="wsgi_app",
        ours=(("main_app/app.py", "from .celery_setup", "from flask_celeriac"),),
    ),
    Shape(
        "old_names",
        old_names,
        celery="worker.celery",
        flask="worker",
        ours=(
            ("src/extensions.py", CELERY_IMPORT, OUR_IMPORT),
            ("src/__init__.py", FLASK_IMPORT, OUR_FUNCTION),
            ("src/__init__.py", "    init_celery(app)\n", "    celery_init_app(app, celery)\n"),
        ),
    ),
    Shape(
        "namespace",
        namespace,
        celery="main.celery",
        flask="main",
        ours=(("project/__init__.py", "from project.celery_utils", "from flask_celeriac"),),
        plain=("project/celery_utils.py", "from celery", "import flask_celeriac\nfrom celery"),
    ),
    Shape(
        "autofinalize",
        autofinalize,
        celery="celery_worker.celery",
        flask="server.core",
        ours=(
            ("server/controller/tasks.py", CELERY_IMPORT, OUR_IMPORT),
            ("server/core.py", FLASK_IMPORT, OUR_FUNCTION),
            (
                "server/core.py",
                "def configure_celery(app, celery):\n",
                "def configure_celery(app, celery):\n    celery_init_app(app, celery)\n",
            ),
        ),
        plain=("server/controller/tasks.py", CELERY_IMPORT, PLAIN_IMPORT),
        ticks=False,
    ),
    Shape(
        "init_celery",
        init_celery,
        celery="run_celery",
        flask="run_celery",
        ours=(
            ("app/__init__.py", CELERY_IMPORT, OUR_IMPORT),
            ("app/__init__.py", FLASK_IMPORT, OUR_FUNCTION),
            (
                "app/__init__.py",
                "    init_celery(celery, app)\n",
                "    celery_init_app(app, celery)\n",
            ),
        ),
    ),
    Shape(
        "longtask",
        longtask,
        celery="app.celery",
        flask="app",
        ours=(
            ("app.py", CELERY_IMPORT, "from flask_celeriac import make_celery\n"),
            ("app.py", "Celery(\n    app.name,\n", "make_celery(app)\n"),
            ("app.py", '    broker=app.config["CELERY_BROKER_URL"],\n', ""),
            ("app.py", '    backend=app.config["CELERY_RESULT_BACKEND"],\n)\n', ""),
            ("app.py", "celery.conf.update(app.config)\n", ""),
        ),
        plain=("app.py", CELERY_IMPORT, PLAIN_IMPORT),
        ticks=False,
    ),
    Shape(
        "celeryext",
        sum_by_id,
        celery="main.celery",
        flask="main",
        ours=(
            (
                "project/__init__.py",
                "from flask_celeryext import",
                "from flask_celeriac import Celeriac as",
            ),
            ("main.py", "ext_celery.celery", 'app.extensions["celery"]'),
        ),
    ),
    Shape(
        "celery_helper",
        sum_by_id,
        celery="manage",
        flask="manage",
        ours=(
            (
                "extensions.py",
                "from flask_celery import",
                "from flask_celeriac import Celeriac as",
            ),
        ),
        ticks=False,
    ),
)
