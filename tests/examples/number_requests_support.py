"""The number requests as people run them, and what their tests ask of them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from tests.support.examples import Example, System
from tests.support.processes import PATIENCE, Running, wait_for
from tests.support.queues import counted

NAME = "number_requests"
EMBEDDED = System("embedded")
ENDED = ("SUCCESS", "FAILURE", "REVOKED")


class Site(Example):
    """The example with a beat that runs every second.

    :param into: where its copy goes
    """

    def __init__(self, into: Path, system: System = EMBEDDED, **settings: str) -> None:
        super().__init__(NAME, into, system, app="wsgi_app", **settings)
        self.database = self.folder / "instance" / "number_requests.db"
        self.environ = {
            "PORT": str(self.port),
            "NUMBER_REQUESTS_URL": self.url,
            "NUMBER_REQUESTS_SECONDS": "1",
            **self.environ,
        }

    def serve(self) -> Running:
        """Start the web server as the document does."""
        return self.web("python", "wsgi_app.py")

    def work(self, **settings: str) -> Running:
        """Start the worker as the document does, with beat in it."""
        return self.worker("-B", "--pool=solo", celery="wsgi_app.celery", **settings)

    def python(self, code: str) -> str:
        """What code prints that runs in the application's context, in a process of its own."""
        program = "from wsgi_app import app, celery\nwith app.app_context():\n"
        program += indent(dedent(code), "    ")
        return self.script("-c", program)

    def queued(self) -> int:
        """How many messages wait for a worker."""
        if self.broker is None and not list(self.folder.rglob("celeriac.db")):
            return 0  # nobody has used it yet
        return counted(self.broker_url, "celery")["celery"]

    def script(self, *arguments: str) -> str:
        """What a Python script prints that ends by itself, and well."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environ,
            check=False,
            capture_output=True,
            text=True,
            timeout=1.5 * PATIENCE,  # a script waits for the clock too
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def begin(self, method: str, path: str, **options: Any) -> str:
        """Send what starts a task; return the task's id."""
        response = self.request(method, path, **options)
        assert response.status_code == 202, response.text
        body = response.json()
        assert list(body) == ["taskID"]
        assert response.headers["Location"] == f"/check_request?taskID={body['taskID']}"
        return str(body["taskID"])

    def check(self, task_id: str) -> dict[str, Any]:
        response = self.request("GET", "/check_request", params={"taskID": task_id})
        assert response.status_code == 200, response.text
        task: dict[str, Any] = response.json()
        assert task["taskID"] == task_id
        return task

    def ended(self, task_id: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            task = self.check(task_id)
            return task if task["status"] in ENDED else None

        return wait_for(look, f"task {task_id} to end")

    def outcome(self, method: str, path: str, **options: Any) -> Any:
        """What a task returns that a request starts."""
        task = self.ended(self.begin(method, path, **options))
        assert task["status"] == "SUCCESS", task
        return task["response"]

    def store(self, rid: int, numbers: list[int], jobs: list[str]) -> None:
        body = {"rid": rid, "numbers": numbers, "jobtodo": jobs}
        assert self.outcome("POST", "/number_request", json=body) == "OK"

    def look_up(self, rid: int) -> dict[str, Any]:
        found: dict[str, Any] = self.outcome("GET", "/number_request", params={"rid": rid})
        return found

    def done(self, rid: int) -> dict[str, Any]:
        """A request when all of its numbers are done."""

        def look() -> dict[str, Any] | None:
            found = self.look_up(rid)
            return found if set(found["state"]) == {"done"} else None

        return wait_for(look, f"request {rid} to be done")

    def rows(self, columns: str) -> list[tuple[Any, ...]]:
        """The rows of the table of numbers, where the database is the file."""
        return self.execute(f"SELECT {columns} FROM numbers ORDER BY id")

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database, timeout=PATIENCE)) as file, file:
            return file.execute(statement).fetchall()
