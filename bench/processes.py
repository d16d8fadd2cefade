"""Starting, watching and stopping the processes under test."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class CannotRunError(Exception):
    """A system could not be measured."""


@contextlib.contextmanager
def started(
    command: Sequence[str], *, log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for the length of a ``with`` block, then end it and all its children."""
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise CannotRunError(f"{command[0]} is not installed") from error
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment(extra: dict[str, str]) -> dict[str, str]:
    """The environment of a process under test: none of the user's own settings for Celery."""
    own = ("CELERY", "CELERIAC", "FLASK", "BENCH", "USE_FAST_LOCALS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return {**kept, "C_FORCE_ROOT": "1", **extra}


def client(
    action: str, app: str, extra: dict[str, str], *, task: str = "add", count: int = 0
) -> dict[str, Any]:
    """Run one of the actions of :mod:`bench.client` in a process of its own."""
    command = [sys.executable, "-m", "bench.client", action, app, task, str(count)]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment(extra),
            check=False,
            capture_output=True,
            text=True,
            timeout=900,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotRunError(f"the client ({action}) did not come to an end") from error
    if done.returncode:
        raise CannotRunError(f"the client ({action}) failed:\n{done.stderr.strip()[-2000:]}")
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome
