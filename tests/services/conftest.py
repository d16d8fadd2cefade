"""Applications and workers for the tests of tasks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery.contrib.testing.worker import start_worker
from celery.worker import state
from flask import Flask
from kombu import pools

MakeApp = Callable[..., Flask]


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[MakeApp]:
    """A Flask application with an instance folder of its own."""

    def make(name: str = "shop", **config: Any) -> Flask:
        app = Flask(name, instance_path=str(tmp_path / name))
        settings = config.pop("CELERY", {})
        if settings.get("broker_url"):  # and results would be on Redis, or nowhere
            settings = {"result_backend": "cache+memory://", **settings}
        app.config["CELERY"] = settings
        app.config.update(config)
        return app

    yield make
    pools.reset()


@contextmanager
def working(app: Flask, pool: str = "solo", **options: Any) -> Iterator[None]:
    """A worker of the application, in a thread of this process."""
    celery = app.extensions["celery"]
    with start_worker(celery, pool=pool, perform_ping_check=False, **options):
        yield
        # It ends when its event loop looks, which is once a second unless something comes.
        state.should_terminate = 0
        celery.control.heartbeat()


class Worker:
    """A real worker process on an application, and what it wrote to stderr."""

    def __init__(self, folder: Path, app: str, *options: str, **environ: str) -> None:
        self.log = folder / "worker.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", app, "worker",
                 "--without-gossip", "--without-mingle", *options],
                cwd=folder, stdout=log, stderr=log, env={**os.environ, **environ},
                start_new_session=True,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, f"no {text!r} in:\n{self.output}"
            time.sleep(0.05)

    def stop(self) -> None:
        """Let it end well."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)

    def kill(self) -> None:
        """End it and its pool at once; a pool takes seconds to end well."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Write a module with ``app`` and ``celery`` in it, and start a worker process on it."""
    workers: list[Worker] = []

    def begin(source: str, *options: str, app: str = "celery", **environ: str) -> Worker:
        (tmp_path / "shop.py").write_text(textwrap.dedent(source))
        worker = Worker(tmp_path, f"shop:{app}", *options, **environ)
        workers.append(worker)
        return worker

    yield begin
    for worker in workers:
        worker.kill()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Run a script beside the module that :func:`start` wrote; its output."""

    def execute(source: str, **environ: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(source)],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, **environ},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return execute
