"""Run the data desk as ``make demo`` does, and use it over HTTP."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.support import processes
from tests.support.processes import (
    PATIENCE,
    Running,
    clean_environment,
    free_port,
    listens,
    wait_for,
)

FOLDER = Path(__file__).parents[2] / "examples" / "data_desk"
SHIPPED = FOLDER / "data" / "clock_changes.csv"
JSON = {"Accept": "application/json"}
PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


class Desk:
    """A running demo."""

    def __init__(self, command: Running, port: int, instance: Path) -> None:
        self.command = command
        self.process = command.process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.instance = instance

    def answers(self) -> bool:
        assert self.process.poll() is None, f"the demo ended: {self.log()}"
        try:
            return requests.get(self.url, timeout=PATIENCE).ok
        except requests.ConnectionError:
            return False

    def log(self) -> str:
        return self.command.output[-4000:]

    def post(self, content: bytes | None, name: str = "data.csv", **fields: str) -> Any:
        # A form without a file is a form all the same.
        parts: Any = {"nothing": (None, "")}
        if content is not None:
            parts = {"file": (name, content, "text/csv")}
        url = f"{self.url}/reports"
        return requests.post(url, files=parts, data=fields, headers=JSON, timeout=PATIENCE)

    def upload(self, content: bytes, name: str = "data.csv", **fields: str) -> str:
        """Upload a file; return the report's path."""
        response = self.post(content, name, **fields)
        assert response.status_code == 202, response.text
        location: str = response.headers["Location"]
        return location

    def status(self, path: str) -> dict[str, Any]:
        response = requests.get(self.url + path, headers=JSON, timeout=PATIENCE)
        assert response.status_code == 200, response.text
        status: dict[str, Any] = response.json()
        return status

    def page(self, path: str) -> str:
        response = requests.get(self.url + path, headers=PAGE, timeout=PATIENCE)
        assert response.status_code == 200, response.text
        return response.text

    def finished(self, path: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            status = self.status(path)
            return status if status["state"] in ("SUCCESS", "FAILURE") else None

        return wait_for(look, f"{path} to be finished")

    def mails(self, about: str) -> list[dict[str, str]]:
        """The mails whose Message-ID holds these words, such as a report's id."""
        mails = requests.get(f"{self.url}/mail", headers=JSON, timeout=PATIENCE).json()
        return [mail for mail in mails if about in mail["message_id"]]

    def workers(self) -> list[psutil.Process]:
        """The worker's main process, then the processes of its pool."""
        for process in psutil.Process(self.process.pid).children():
            try:
                if "worker" in process.cmdline():
                    return [process, *process.children()]
            except psutil.NoSuchProcess:
                continue
        return []

    def web_processes(self) -> list[psutil.Process]:
        """The processes that answer requests, where gunicorn serves."""
        found = [p for p in self.command.alive() if "gthread" in p.cmdline()]
        return [process for process in found if process.ppid() in {p.pid for p in found}]

    def run_in_app(self, code: str) -> str:
        """Run code in a process of its own, with the application's context as ``flask shell``."""
        program = f"from data_desk import create_app\nwith create_app().app_context():\n{code}"
        environ = environment(self.instance) | {"PYTHONPATH": str(FOLDER)}
        with processes.running(sys.executable, "-c", program, cwd=FOLDER, env=environ) as done:
            assert done.ends() == 0, done.output
            return done.output

    def stop(self) -> None:
        """Ctrl-C, and nothing may be left."""
        self.command.stop(signal.SIGINT)
        assert not listens(self.port)


def environment(instance: Path, **settings: str) -> dict[str, str]:
    """The machine's environment without anything that would configure the demo."""
    kept = {
        name: value
        for name, value in clean_environment().items()
        if not name.startswith("DATA_DESK_")
    }
    return kept | {"DATA_DESK_INSTANCE": str(instance), **settings}


@contextmanager
def running(instance: Path, *options: str, **settings: str) -> Iterator[Desk]:
    """A demo of its own: any port, any folder.

    :param options: of ``run.py``
    """
    port = free_port()
    program = (sys.executable, str(FOLDER / "run.py"), "--port", str(port), *options)
    environ = environment(instance, **settings)
    with processes.running(*program, cwd=instance.parent, env=environ) as command:
        desk = Desk(command, port, instance)
        wait_for(desk.answers, "the demo to answer")
        yield desk
        desk.stop()


@contextmanager
def catcher(port: int, folder: Path) -> Iterator[None]:
    """The demo's mail server alone."""
    program = (sys.executable, "-m", "data_desk.mail_catcher")
    options = ("--port", str(port), "--folder", str(folder))
    with processes.running(*program, *options, cwd=FOLDER, env=clean_environment()):
        yield
