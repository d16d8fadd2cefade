"""Starts processes in a quarter of a second: forks them out of one that has imported everything.

There is one for each flavour, as a process that has imported Flask-Celeriac is no plain Celery.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.system.workers import ROOT, alive, wait_for

#: Both would import them sooner or later.
CELERY = (
    *("celery.bin.celery", "celery.apps.worker", "celery.concurrency.prefork"),
    *("celery.worker.consumer.mingle", "celery.backends.redis", "celery.bin.worker"),
    *("kombu.transport.redis", "kombu.transport.pyamqp"),
)
PRELOAD = {
    "stock": CELERY,
    "ours": (
        *CELERY,
        *("flask_celeriac", "flask_celeriac.broker.transport", "flask_celeriac.records.backend"),
        *("flask_celeriac.sqlite_dbapi", "flask_celeriac.recorder", "sqlalchemy", "psycopg"),
    ),
}
_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET = 0x40000000


def serve(flavour: str) -> None:
    """Fork a process for each line, and say its number."""
    for module in PRELOAD[flavour]:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _become(json.loads(line))
        with contextlib.suppress(OSError):  # whoever of both comes first
            os.setpgid(pid, pid)
        print(pid, flush=True)


def _become(job: dict[str, Any]) -> None:
    """Be the process that was asked for."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)
        # Whatever becomes of the harness, nothing of it is left.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.environ.clear()
        os.environ.update(job["env"])
        for descriptor, path in ((0, os.devnull), (1, job["log"]), (2, job["log"])):
            opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(opened, descriptor)
            os.close(opened)
        if namespace := job.get("namespace"):
            _enter(namespace)
        module, function = job["run"].split(":")
        getattr(importlib.import_module(module), function)(*job["arguments"])
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
    except BaseException:  # noqa: BLE001 - whatever it is, it is read in the log
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        Path(f"{job['log']}.code").write_text(str(code))
        os._exit(code)


def _enter(namespace: str) -> None:
    with Path(f"/var/run/netns/{namespace}").open() as file:
        done = ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET)
    assert done == 0, os.strerror(ctypes.get_errno())


@dataclass
class Process:
    """A process that a zygote made."""

    pid: int
    log: Path
    #: What makes the number unmistakable, should it be given to another one.
    born: float = field(init=False)

    def __post_init__(self) -> None:
        try:
            self.born = psutil.Process(self.pid).create_time()
        except psutil.NoSuchProcess:
            self.born = 0.0

    @property
    def alive(self) -> bool:
        try:
            return alive(self.pid) and psutil.Process(self.pid).create_time() == self.born
        except psutil.NoSuchProcess:
            return False

    @property
    def code(self) -> int | None:
        """Its exit code; None while it lives, or when it was killed."""
        try:
            return int(Path(f"{self.log}.code").read_text())
        except (OSError, ValueError):
            return None

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def children(self) -> list[int]:
        try:
            return [child.pid for child in psutil.Process(self.pid).children()]
        except psutil.NoSuchProcess:
            return []

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def wait(self, seconds: float = 60.0) -> None:
        wait_for(lambda: not self.alive, f"the end of {self.pid}\n{self.output()[-3000:]}", seconds)

    def end(self) -> None:
        """Leave nothing of it."""
        self.signal(signal.SIGKILL, group=True)
        self.wait()


class Zygote:
    """What forks them, for as long as it is open."""

    def __init__(self, flavour: str) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"from tests.faults.harness.zygote import serve; serve({flavour!r})",
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(
        self,
        run: str,
        *arguments: object,
        log: Path,
        env: dict[str, str],
        namespace: str | None = None,
    ) -> Process:
        """Run ``module:function`` in a process of its own, which begins a process group."""
        log.touch()
        job = {
            "run": run,
            "arguments": arguments,
            "log": str(log),
            "env": {**os.environ, "PYTHONPATH": str(ROOT), **env},
            "namespace": namespace,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return Process(int(self._process.stdout.readline()), log)

    def close(self) -> None:
        with self._process:
            self._process.kill()
