"""A small application that is served by threads, and its tasks that wait for the test."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.serving import make_server

from flask_celeriac import Celeriac

celeriac = Celeriac()

#: The worker is a thread of the test's process: its tasks go on when the test says so.
go_on = threading.Event()


@celeriac.task(name="streams.steps", http=True)
def steps(n: int) -> str:
    for number in celeriac.track(range(n), message="step"):
        if number == 0:
            assert go_on.wait(60)
    return "done"


@celeriac.task(name="streams.fails", http=True)
def fails() -> None:
    raise ValueError("No")


@celeriac.task(name="streams.idle", http=True, queue="idle")
def idle() -> None:
    """Nobody consumes its queue."""


def make_app(folder: Path, **config: Any) -> Flask:
    app = Flask("streams", instance_path=str(folder / "instance"))
    app.config.update(config)
    celeriac.init_app(app)
    return app


@contextmanager
def served(app: Flask) -> Iterator[tuple[str, int]]:
    """The application behind a server with a thread for each connection; where it is."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield "127.0.0.1", server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Stream:
    """A client that reads the events of a task."""

    def __init__(self, where: tuple[str, int], path: str, last: str | None = None) -> None:
        self._connection = http.client.HTTPConnection(*where, timeout=60)
        headers = {} if last is None else {"Last-Event-ID": last}
        self._connection.request("GET", path, headers=headers)
        self.response = self._connection.getresponse()

    @property
    def status(self) -> int:
        return self.response.status

    def block(self) -> dict[str, str]:
        """The fields up to the next empty line, a comment's name empty; nothing at the end."""
        found: dict[str, str] = {}
        while line := self.response.readline().decode().rstrip("\n"):
            name, _, value = line.partition(":")
            found[name] = value.strip()
        return found

    def event(self) -> tuple[str, str, Any]:
        """The next event: what it is, its id, its data."""
        while block := self.block():
            if "event" in block:
                return block["event"], block["id"], json.loads(block["data"])
        raise EOFError

    def until_end(self) -> list[tuple[str, str, Any]]:
        """Every event that comes."""
        found = []
        while True:
            try:
                found.append(self.event())
            except EOFError:
                return found

    def close(self) -> None:
        self.response.close()
        self._connection.close()
