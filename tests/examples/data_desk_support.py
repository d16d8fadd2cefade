"""Run the data desk as ``make demo`` does, and use it over HTTP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import requests

FOLDER = Path(__file__).parents[2] / "examples" / "data_desk"
SHIPPED = FOLDER / "data" / "clock_changes.csv"
JSON = {"Accept": "application/json"}
PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
# Generous: the machine may be busy with other tests. Nothing waits longer than it has to.
PATIENCE = 60.0

T = TypeVar("T")


def wait_for(what: Callable[[], T | None], why: str) -> T:
    """The first truthy answer."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if answer := what():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"waited {PATIENCE:g} s in vain: {why}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Desk:
    """A running demo."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, instance: Path) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.instance = instance

    def answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the demo ended: {self.log()}")
        try:
            return requests.get(self.url, timeout=5).ok
        except requests.ConnectionError:
            return False

    def log(self) -> str:
        return self.instance.with_suffix(".log").read_text(errors="replace")[-4000:]

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

    def run_in_app(self, code: str) -> str:
        """Run code in a process of its own, with the application's context as ``flask shell``."""
        program = f"from data_desk import create_app\nwith create_app().app_context():\n{code}"
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment(self.instance) | {"PYTHONPATH": str(FOLDER)},
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        """Ctrl-C, and nothing may be left."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE)
        _, left = psutil.wait_procs(family, timeout=5)
        for process in left:
            process.kill()
        assert not left, left
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", self.port))


def environment(instance: Path, **settings: str) -> dict[str, str]:
    """The machine's environment without anything that would configure the demo."""
    ours = ("MAIL_", "DATA_DESK_", "CELERY", "CELERIAC", "FLASK", "SQLALCHEMY_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"DATA_DESK_INSTANCE": str(instance), **settings}


@contextmanager
def running(instance: Path, **settings: str) -> Iterator[Desk]:
    """A demo of its own: any port, any folder."""
    port = free_port()
    with instance.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(FOLDER / "run.py"), "--port", str(port)],
            env=environment(instance, **settings),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    desk = Desk(process, port, instance)
    try:
        wait_for(desk.answers, "the demo to answer")
        yield desk
    finally:
        if process.poll() is None:
            desk.stop()


@contextmanager
def catcher(port: int, folder: Path) -> Iterator[None]:
    """The demo's mail server alone."""
    command = [sys.executable, "-m", "data_desk.mail_catcher"]
    process = subprocess.Popen([*command, "--port", str(port), "--folder", str(folder)], cwd=FOLDER)
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)
