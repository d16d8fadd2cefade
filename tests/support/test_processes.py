"""Commands that tests start are seen, and end with everything that came from them."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.support import leaks
from tests.support.processes import Running, clean_environment, running

SLEEP = "import time; print('here', 42, flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
PARENT = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
{SLEEP}
"""


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_what_it_writes_is_seen_and_it_ends(tmp_path: Path) -> None:
    with running(*python(SLEEP), cwd=tmp_path, env=clean_environment()) as command:
        assert command.sees(re.compile(r"here (\d+)"))[1] == "42"
        command.sees("here 42")
        assert command.stop() == -signal.SIGTERM
        assert command.output == "here 42\n"
        assert command.stop() == -signal.SIGTERM  # it may have ended already


def test_its_children_end_with_it_when_it_is_killed(tmp_path: Path) -> None:
    with running(*python(PARENT), cwd=tmp_path, env=clean_environment()) as command:
        command.sees(re.compile("here.*here", re.DOTALL))
        family = command.alive()
        assert len(family) == 2
        command.kill()
        assert not psutil.wait_procs(family, timeout=5)[1]


def test_an_early_end_is_told_with_the_output(tmp_path: Path) -> None:
    command = running(*python("print('ouch')"), cwd=tmp_path, env=clean_environment())
    with command as ended, pytest.raises(AssertionError, match=r"ended without(?s:.*)ouch"):
        ended.sees("ready")


def test_an_orphan_is_told_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "GRACE", 0.1)
    kept: list[Running] = []
    with (
        pytest.raises(AssertionError, match="left"),
        running(*python(PARENT), cwd=tmp_path, env=clean_environment()) as command,
    ):
        command.sees(re.compile("here.*here", re.DOTALL))
        kept.append(command)
    assert kept[0].alive() == []


def test_what_does_not_stop_is_told_and_killed(tmp_path: Path) -> None:
    with running(*python(STUBBORN), cwd=tmp_path, env=clean_environment()) as command:
        command.sees("here")
        command.process.send_signal(signal.SIGTERM)
        with pytest.raises(AssertionError, match="left"):
            command.ends(0.2)
        assert command.alive() == []


def test_nothing_configures_an_application_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLASK_APP", "CELERY_BROKER_URL", "CELERIAC_DATABASE", "MAIL_PORT"):
        monkeypatch.setenv(name, "1")
    environment = clean_environment(MAIL_SERVER="127.0.0.1")
    assert environment.keys().isdisjoint({"FLASK_APP", "CELERY_BROKER_URL", "CELERIAC_DATABASE"})
    assert "MAIL_PORT" not in environment
    assert environment["MAIL_SERVER"] == "127.0.0.1"
    assert "CELERIAC_TEST_RUN" in environment
