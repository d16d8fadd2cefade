"""``flask celery dev`` as a person runs it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from flask_celeriac.cli import celery
from tests.cli.terminal import FLASK, Terminal, fetch, until

DEV = (*FLASK, "--app", "shop", "celery", "dev", "--concurrency", "1")


class Dev(Terminal):
    """``flask celery dev`` on a free port."""

    def __init__(self, shop: Path, *options: str) -> None:
        super().__init__(*DEV, "--port", "0", *options, cwd=shop)

    def url(self, path: str) -> str:
        """The address of a page, once it is known."""
        self.shows(r"dev +\| http://")
        address = self.output.partition("http://")[2].split()[0]
        return f"http://{address}{path}"


def test_it_serves_runs_tasks_and_beats_and_ends_on_ctrl_c(shop: Path) -> None:
    with Dev(shop, "--with", "extra=echo hello; exec sleep 1000") as dev:
        # Asked at once: the page waits until the server and the worker are there.
        assert fetch(dev.url("/add/2/3")) == "5"
        dev.shows(r"worker \| .*shop.add.* succeeded in")
        dev.shows(r"beat   \| .*Sending due task tick")
        dev.shows(r"extra  \| hello")
        assert "\x1b[" not in "".join(line[:8] for line in dev.lines)
        dev.press(signal.SIGINT)
        assert dev.ends() == 0
        assert dev.count("Traceback") == 0
        assert dev.count("killing") == 0


def test_a_killed_worker_is_started_again(shop: Path) -> None:
    with Dev(shop, "--no-beat") as dev:
        dev.shows(r"worker \| .*ready\.")
        main = dev.find("celery", "worker")
        pool = main.children()
        assert pool
        main.kill()
        dev.shows("worker was ended by SIGKILL: starting it again in 0.5 s")
        dev.shows(r"worker \| .*ready\.", times=2)
        assert fetch(dev.url("/add/2/3")) == "5"
        assert not {process.pid for process in pool} & {p.pid for p in dev.alive()}
        dev.press(signal.SIGTERM)
        assert dev.ends() == 0


def test_a_change_reaches_web_and_worker_and_a_syntax_error_ends_nothing(shop: Path) -> None:
    code = shop / "shop" / "__init__.py"
    good = code.read_text()
    with Dev(shop) as dev:
        assert fetch(dev.url("/add/2/3")) == "5"
        code.write_text(good + "\n1 +\n")
        dev.shows("worker ended with exit code 1: it starts again when a file changes")
        dev.shows("worker .*SyntaxError")
        dev.shows("web .*SyntaxError")
        code.write_text(good.replace("FACTOR = 1", "FACTOR = 10"))
        dev.shows("changed: restarting", times=2)
        dev.shows(r"worker \| .*ready\.", times=2)
        assert fetch(dev.url("/factor")) == "10"
        assert fetch(dev.url("/add/2/3")) == "50"
        assert dev.process.poll() is None
        dev.press(signal.SIGHUP)
        assert dev.ends() == 0


def test_a_task_that_a_restart_interrupts_runs_again(shop: Path) -> None:
    ledger = shop / "instance" / "ledger"
    with Dev(shop, "--no-beat", "--no-web") as dev:
        dev.shows(r"worker \| .*ready\.")
        command = (*FLASK, "--app", "shop", "long", str(ledger))
        subprocess.run(command, cwd=shop, check=True, capture_output=True)
        until(ledger.exists, "the start of the task")
        (shop / "make_celery.py").touch()
        dev.shows("make_celery.py changed: restarting")
        until(lambda: "done" in ledger.read_text(), "the end of the task")
        assert ledger.read_text().split() == ["started", "started", "done"]
        dev.press(signal.SIGINT)
        assert dev.ends() == 0


def test_killed_itself_it_leaves_no_process(shop: Path) -> None:
    with Dev(shop) as dev:
        assert fetch(dev.url("/add/2/3")) == "5"
        assert len(dev.alive()) > 4
        dev.process.kill()
        dev.process.wait()
        until(lambda: not dev.alive(), "the end of all processes")


def test_killed_while_it_starts_it_leaves_no_process(shop: Path) -> None:
    with Dev(shop) as dev:
        dev.shows("Ctrl-C stops all")
        dev.process.kill()
        dev.process.wait()
        until(lambda: not dev.alive(), "the end of all processes")


def test_a_taken_port_is_said_before_anything_starts(shop: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with Terminal(*DEV, "--port", str(port), cwd=shop) as dev:
            assert dev.ends() == 1
            assert f"Cannot listen on 127.0.0.1 port {port}: Address already in use" in dev.output
            assert "--port" in dev.output
            assert len(dev.lines) == 1


def test_debug_mode_and_options_of_flask_reach_the_children(shop: Path) -> None:
    code = shop / "shop" / "__init__.py"
    show = "import os\nprint('debug', os.environ.get('FLASK_DEBUG'), os.environ.get('COLOUR'))\n"
    code.write_text(show + code.read_text())
    command = (*FLASK, "--app", "shop", "--debug", "celery", "dev", "--port", "0", "--no-reload")
    with Terminal(*command, "--pool", "solo", cwd=shop, env={"COLOUR": "red"}) as dev:
        for name in ("web", "worker", "beat"):
            dev.shows(rf"{name} +\| debug 1 red")
        dev.shows(r"web +\| .*Debugger PIN")
        dev.press(signal.SIGINT)
        assert dev.ends() == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--with", "nothing"], "write NAME=COMMAND, not 'nothing'"),
        (["--with", "web=true"], "the name 'web' is taken"),
        (["--with", "a=true", "--with", "a=true"], "the name 'a' is taken"),
        (["--concurrency", "0"], "0 is not in the range"),
    ],
)
def test_wrong_options_are_refused_in_words(options: list[str], text: str) -> None:
    result = CliRunner().invoke(celery, ["dev", *options])
    assert result.exit_code == 2
    assert text in result.output


def test_a_custom_flask_script_starts_its_children_with_itself(shop: Path) -> None:
    (shop / "manage.py").write_text(
        "from flask.cli import FlaskGroup\nfrom shop import create_app\n"
        "if __name__ == '__main__':\n    FlaskGroup(create_app=create_app).main()\n"
    )
    command = (sys.executable, "manage.py", "celery", "dev", "--port", "0", "--pool", "solo")
    with Terminal(*command, cwd=shop) as dev:
        dev.shows(r"worker \| .*ready\.")
        dev.shows(r"beat   \| .*Sending due task tick")
        dev.press(signal.SIGINT)
        assert dev.ends() == 0
