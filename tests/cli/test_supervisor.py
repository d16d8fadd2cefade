"""The supervisor with small programs: what it does does not depend on Flask or Celery."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, until

DRIVER = """
import os
import sys
from pathlib import Path

from flask_celeriac.cli.output import Output
from flask_celeriac.cli.process import Program
from flask_celeriac.cli.supervisor import Supervisor
from flask_celeriac.cli.watch import Watcher

here = Path.cwd()
names = sys.argv[1:]
programs = [
    Program(
        name,
        [sys.executable, f"{name}.py"] if (here / f"{name}.py").exists() else f". ./{name}.sh",
        os.environ,
        stops=(("SIGTERM", 0.5),),
        reloads=(here / f"{name}.py").exists(),
    )
    for name in names
]
output = Output(names, sys.stdout.buffer, color=False)
supervisor = Supervisor(programs, output, reloads=True)
watcher = Watcher([here], [], supervisor.changed, supervisor.unwatched)
watcher.start()
supervisor.run()
watcher.stop()
"""

POLITE = "print('hello', flush=True)\nimport time\nwhile True: time.sleep(100)\n"
STUBBORN = (
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
    "print('hello', flush=True)\n"
    "while True: time.sleep(100)\n"
)


class Stage:
    """A directory with programs, and supervisors that run them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "instance").mkdir()
        self.driver = directory / "instance" / "driver.py"
        self.driver.write_text(DRIVER)

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def run(self, *names: str) -> Terminal:
        return Terminal(sys.executable, str(self.driver), *names, cwd=self.directory)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_stops_everything(stage: Stage, number: signal.Signals) -> None:
    stage.write("one.py", POLITE)
    stage.write("two.sh", "echo hello; sleep 1000 & wait")
    with stage.run("one", "two") as terminal:
        terminal.shows(r"one \| hello")
        terminal.shows(r"two \| hello")
        terminal.press(number)
        assert terminal.ends() == 0
        assert terminal.count("killing") == 0


def test_who_does_not_listen_is_killed_with_its_children(stage: Stage) -> None:
    stage.write("one.py", STUBBORN)
    with stage.run("one") as terminal:
        terminal.shows("hello")
        terminal.press(signal.SIGINT)
        assert terminal.ends() == 0


def test_a_second_ctrl_c_kills_at_once(stage: Stage) -> None:
    stage.write("one.py", STUBBORN)
    stage.driver.write_text(DRIVER.replace('"SIGTERM", 0.5', '"SIGTERM", 1000'))
    with stage.run("one") as terminal:
        terminal.shows("hello")
        terminal.press(signal.SIGINT)
        terminal.shows("stopping")
        # As fast as a person may press twice, and slower than a wrapper that passes it on.
        time.sleep(0.5)
        terminal.press(signal.SIGINT)
        assert terminal.ends() == 0
        assert terminal.count("killing") == 1


def test_killed_itself_it_leaves_nothing_behind(stage: Stage) -> None:
    stage.write("one.py", STUBBORN)
    stage.write("two.sh", "sleep 1000 & echo hello; wait")
    with stage.run("one", "two") as terminal:
        terminal.shows(r"one \| hello")
        terminal.shows(r"two \| hello")
        terminal.process.kill()
        terminal.process.wait()
        until(lambda: not terminal.alive(), "the end of what it started")


def test_a_killed_process_is_started_again_without_what_it_left(stage: Stage) -> None:
    stage.write("one.py", STUBBORN)
    with stage.run("one") as terminal:
        terminal.shows("hello")
        first = terminal.find("one.py")
        family = [first, *first.children()]
        assert len(family) == 2
        first.send_signal(signal.SIGKILL)
        terminal.shows("one was ended by SIGKILL: starting it again in 0.5 s")
        terminal.shows(r"one \| hello", times=2)
        assert not {process.pid for process in family} & {p.pid for p in terminal.alive()}


def test_what_cannot_start_is_shown_and_waits_for_a_change(stage: Stage) -> None:
    stage.write("one.py", "print('hello'\n")
    stage.write("two.py", POLITE)
    with stage.run("one", "two") as terminal:
        terminal.shows(r"one \| SyntaxError")
        terminal.shows("one ended with exit code 1: it starts again when a file changes")
        terminal.shows(r"two \| hello")
        stage.write("one.py", POLITE)
        terminal.shows(r"dev \| one.py changed: restarting")
        terminal.shows(r"one \| hello")
        terminal.shows(r"two \| hello", times=2)


def test_a_shell_command_is_repeated_when_it_fails_and_not_on_a_change(stage: Stage) -> None:
    stage.write("one.py", POLITE)
    stage.write("two.sh", "echo run; test -e stop && exit 0; touch stop; exit 3")
    with stage.run("one", "two") as terminal:
        terminal.shows("two ended with exit code 3: starting it again")
        terminal.shows("two ended with exit code 0$")
        stage.write("one.py", POLITE + "\n")
        terminal.shows(r"one \| hello", times=2)
        assert terminal.count(r"two \| run") == 2


def test_two_changes_while_it_stops_start_it_once(stage: Stage) -> None:
    stage.write("one.py", STUBBORN)
    with stage.run("one") as terminal:
        terminal.shows("hello")
        stage.write("one.py", STUBBORN + "#")
        terminal.shows("changed")
        stage.write("one.py", STUBBORN + "##")
        terminal.shows("changed", times=2)
        terminal.shows("hello", times=2)
        assert len([p for p in terminal.alive() if "one.py" in p.cmdline()]) == 1
