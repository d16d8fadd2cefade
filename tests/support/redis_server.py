"""A Redis for one run of the tests, where the program is there and no other server is named.

It has a database for each of many tests at once, and nothing of an earlier run: neither messages
nor workers that take them. A pytest plugin: ``tests/conftest.py`` imports the hooks. With ``-n``,
the process that gives the tests to the others starts it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from tests.support import services
from tests.support.processes import free_port, wait_for

#: The first half is nobody's, as on a server that others use, too.
DATABASES = 64
#: prctl(2): the signal this process gets when its parent dies.
_PR_SET_PDEATHSIG = 1

_OURS = pytest.StashKey[tuple[subprocess.Popen[bytes], "tempfile.TemporaryDirectory[str]"]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start it, and tell the tests where it is."""
    variable = services.REDIS.variable
    if os.environ.get(variable) or not shutil.which("redis-server"):
        return
    folder, port = tempfile.TemporaryDirectory(prefix="celeriac-redis-"), free_port()
    server = subprocess.Popen(
        [
            *("redis-server", "--port", str(port), "--bind", "127.0.0.1"),
            *("--dir", folder.name, "--save", "", "--databases", str(DATABASES)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509
    )
    config.stash[_OURS] = (server, folder)
    os.environ[variable] = f"redis://127.0.0.1:{port}"
    wait_for(lambda: not services.REDIS.missing(), "the tests' own Redis answers")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop it."""
    if _OURS in config.stash:
        server, folder = config.stash[_OURS]
        del os.environ[services.REDIS.variable]
        server.terminate()
        server.wait()
        folder.cleanup()


def _end_with_parent() -> None:
    """Also when that is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
