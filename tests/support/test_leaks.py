"""A test that leaves a process or a listening port behind fails the run, and is named."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]

ORPHAN = """
    import subprocess, sys

    START = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', {!r}])"

    def test_leaves_a_grandchild():
        sleep = "import time; time.sleep(600)  # an orphan"
        subprocess.run([sys.executable, "-c", START.format(sleep)], check=True)
"""
PORT = """
    import socket

    kept = []

    def test_leaves_a_port():
        kept.append(socket.create_server(("127.0.0.1", 0)))
"""
CLEAN = """
    import subprocess, sys

    def test_waits_for_its_process():
        subprocess.run([sys.executable, "-c", "pass"], check=True)
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(
        "from tests.support import leaks\n"
        "from tests.support.leaks import _nothing_left_behind\n"
        "leaks.GRACE = 0.1\n"
    )
    return pytester


def test_an_orphan_is_found_named_and_ended(project: pytest.Pytester) -> None:
    project.makepyfile(ORPHAN)
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*# an orphan) of *::test_leaves_a_grandchild*"])
    assert not [each for each in psutil.process_iter() if "# an orphan" in words(each)]


def words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_an_open_port_is_found(project: pytest.Pytester) -> None:
    project.makepyfile(PORT)
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*port * is still open in the test process*"])


def test_a_clean_run_passes(project: pytest.Pytester) -> None:
    project.makepyfile(CLEAN)
    project.runpytest_subprocess().assert_outcomes(passed=1)
