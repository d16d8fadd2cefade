"""A run leaves no process and no listening port behind.

Every process that a test starts inherits :data:`MARK`, also when its parent has died, and pytest's
own variable that says which test was running. A pytest plugin: ``tests/conftest.py`` imports the
fixture.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import psutil
import pytest

MARK = "CELERIAC_TEST_RUN"
#: Seconds for a process that was told to stop, and is on its way out.
GRACE = 5.0
#: Python's own helpers live as long as the process that used `multiprocessing`.
HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


@pytest.fixture(scope="session", autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    mark = uuid.uuid4().hex
    ports_before = set(listening_ports())
    os.environ[MARK] = mark
    try:
        yield
    finally:
        del os.environ[MARK]
    left = leftovers(mark)
    _, alive = psutil.wait_procs(left, timeout=GRACE)
    complaints = [describe(process) for process in alive]
    for process in alive:
        process.kill()
    complaints += [
        f"port {port} is still open in the test process"
        for port in set(listening_ports()) - ports_before
    ]
    assert not complaints, "the tests left behind:\n" + "\n".join(complaints)


def leftovers(mark: str) -> list[psutil.Process]:
    """The living processes that carry a run's mark, except this one."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            marked = process.environ().get(MARK) == mark
            helper = any(name in word for word in process.cmdline() for name in HELPERS)
            if marked and not helper and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def describe(process: psutil.Process) -> str:
    try:
        test = process.environ().get("PYTEST_CURRENT_TEST", "an unknown test")
        return f"process {process.pid} ({' '.join(process.cmdline())}) of {test}"
    except psutil.Error:
        return f"process {process.pid}"


def listening_ports() -> Iterator[int]:
    for connection in psutil.Process().net_connections("inet"):
        if connection.status == psutil.CONN_LISTEN:
            yield connection.laddr.port
