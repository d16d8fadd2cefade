"""A Redis of its own for what may be killed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import redis

from tests.support.processes import free_port, wait_for


class OwnServer:
    """A Redis that may be killed; it forgets nothing."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = folder / "redis"
        self.folder.mkdir()

    def start(self) -> OwnServer:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1",
                 "--dir", str(self.folder), "--save", "",
                 "--appendonly", "yes", "--appendfsync", "always"],
                stdout=log, stderr=log,
            )  # fmt: skip
        wait_for(self.answers, "Redis answers")
        return self

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, decode_responses=True)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
