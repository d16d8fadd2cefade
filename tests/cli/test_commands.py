"""worker, beat and config as a person types them, each a real process on the embedded broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.terminal import CELERY, FLASK, PATIENCE, Terminal


def ask(*command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("worker", "client"),
    [
        (
            (*FLASK, "--app", "shop", "celery", "worker", "-c", "1", "--all-queues"),
            ("shop", "add", "2", "3"),
        ),
        (
            (*CELERY, "-A", "make_celery", "worker", "-l", "INFO", "-Q", "sums"),
            ("shop", "add", "2", "3"),
        ),
        ((*CELERY, "-A", "plain.celery", "worker", "-l", "INFO", "-P", "solo"), ("plain", "ask")),
        ((*FLASK, "--app", "plain", "celery", "worker", "-P", "threads"), ("plain", "ask")),
    ],
    ids=["flask", "make_celery", "module.celery", "flask-threads"],
)
def test_a_worker_runs_a_task_and_stops_warm(
    shop: Path, worker: tuple[str, ...], client: tuple[str, ...]
) -> None:
    app, *command = client
    with Terminal(*worker, cwd=shop) as terminal:
        terminal.shows(r"celery@.* ready\.")
        result = ask(*FLASK, "--app", app, *command, cwd=shop)
        assert result.stdout == "sum 5\n", result.stderr
        terminal.shows("succeeded in")
        terminal.press(signal.SIGTERM)
        assert terminal.ends() == 0


def test_a_detached_worker_runs_on(shop: Path) -> None:
    options = ("-D", "-P", "solo", "--all-queues", "--pidfile", "pid", "--logfile", "log")
    with Terminal(*FLASK, "--app", "shop", "celery", "worker", *options, cwd=shop) as terminal:
        assert terminal.process.wait(timeout=PATIENCE) == 0
        assert ask(*FLASK, "--app", "shop", "add", "2", "3", cwd=shop).stdout == "sum 5\n"
        os.kill(int((shop / "pid").read_text()), signal.SIGTERM)
        assert terminal.ends() == 0
    assert "succeeded in" in (shop / "log").read_text()


def test_detach_is_written_on_its_own(shop: Path) -> None:
    result = ask(*FLASK, "--app", "shop", "celery", "worker", "-EDc", "1", cwd=shop)
    assert result.returncode == 2
    assert "--detach" in result.stderr


def test_the_environment_of_celerys_own_command_does_not_change_the_app(shop: Path) -> None:
    # Celery's group reads APP and BROKER_URL; many a .env has them for something else.
    env = {"APP": "production", "BROKER_URL": "redis://nowhere:1/1"}
    command = (*FLASK, "--app", "shop", "celery", "worker", "-P", "solo")
    with Terminal(*command, cwd=shop, env=env) as terminal:
        terminal.shows("transport:.*celeriac:")
        terminal.shows(r"ready\.")
        terminal.press(signal.SIGTERM)
        assert terminal.ends() == 0


def test_beat_fires_and_keeps_its_schedule_in_the_instance_folder(shop: Path) -> None:
    with Terminal(*FLASK, "--app", "shop", "celery", "beat", cwd=shop) as terminal:
        terminal.shows("Sending due task tick", times=2)
        terminal.press(signal.SIGTERM)
        assert terminal.ends() == 0
    names = {path.name for path in (shop / "instance" / "celeriac").iterdir()}
    assert any("schedule" in name for name in names), names
    assert not list(shop.glob("celerybeat*"))


def test_beat_takes_another_schedule_file(shop: Path) -> None:
    command = (*FLASK, "--app", "shop", "celery", "beat", "-s", "mine")
    with Terminal(*command, cwd=shop) as terminal:
        terminal.shows("Sending due task tick")
        terminal.press(signal.SIGTERM)
        assert terminal.ends() == 0
    assert list(shop.glob("mine*"))


@pytest.mark.parametrize("command", ["worker", "beat"])
def test_help_is_celerys_own(shop: Path, command: str) -> None:
    result = ask(*FLASK, "--app", "no_such_app", "celery", command, "--help", cwd=shop)
    assert result.returncode == 0
    assert f"flask celery {command} [OPTIONS]" in result.stdout.splitlines()[0]
    assert "--loglevel" in result.stdout
    assert "--pidfile" in result.stdout


def test_an_option_celery_does_not_know_is_a_usage_error(shop: Path) -> None:
    result = ask(*FLASK, "--app", "shop", "celery", "worker", "--concurency", "2", cwd=shop)
    assert result.returncode == 2
    assert "--concurrency" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("worker", "-A", "shop", "-c", "2"),
        ("-A", "shop", "worker", "-c", "2"),
    ],
)
def test_the_old_order_is_answered_with_the_new_one(shop: Path, arguments: tuple[str, ...]) -> None:
    result = ask(*FLASK, "--app", "shop", "celery", *arguments, cwd=shop)
    assert result.returncode == 2
    assert "\n  flask --app shop celery worker -c 2\n" in result.stderr
    assert "\n  celery -A shop worker -c 2\n" in result.stderr


def test_green_pools_are_refused_with_the_form_that_works(shop: Path) -> None:
    result = ask(*FLASK, "--app", "shop", "celery", "worker", "-P", "gevent", cwd=shop)
    assert result.returncode == 2
    assert "celery -A module.celery worker -P gevent" in result.stderr


@pytest.mark.parametrize("command", ["worker", "beat", "config"])
def test_an_app_without_celeriac_is_told_what_to_call(tmp_path: Path, command: str) -> None:
    (tmp_path / "app.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    result = ask(*FLASK, "celery", command, cwd=tmp_path)
    assert result.returncode == 1
    assert "celeriac.init_app(app)" in result.stderr
    assert "Traceback" not in result.stderr


BROKEN = """
from flask import Flask
from flask_celeriac import Celeriac

app = Flask(__name__)
app.config["CELERY"] = {"worker_prefetch_multiplier": "many"}
Celeriac(app)
"""


@pytest.mark.parametrize("command", ["worker", "beat", "config"])
def test_a_configuration_that_cannot_be_used_is_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "app.py").write_text(BROKEN)
    result = ask(*FLASK, "celery", command, cwd=tmp_path)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith('Error: app.config["CELERY"]["worker_prefetch_multiplier"]: ')
    assert "takes a whole number of 0 or more, not 'many'" in line


def test_something_else_under_celerys_name_is_named(tmp_path: Path) -> None:
    text = "from flask import Flask\napp = Flask(__name__)\napp.extensions['celery'] = app\n"
    (tmp_path / "app.py").write_text(text)
    result = ask(*FLASK, "celery", "worker", cwd=tmp_path)
    assert result.returncode == 1
    assert "flask.app.Flask" in result.stderr


def test_flask_help_loads_no_worker(shop: Path) -> None:
    code = (
        "import sys; from flask.cli import cli\n"
        "try: cli.main(['celery', '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = [n for n in sys.modules if n.startswith(('celery.bin', 'celery.worker',"
        " 'celery.apps', 'watchfiles', 'apsw', 'sqlalchemy'))]\n"
        "assert not heavy, heavy\n"
    )
    result = ask(sys.executable, "-c", code, cwd=shop)
    assert result.returncode == 0, result.stderr
    assert "worker" in result.stdout


SETTINGS = """
from flask import Flask
from flask_celeriac import Celeriac

app = Flask(__name__)
app.config["CELERY_RESULT_BACKEND"] = "redis://:hush@127.0.0.1:6379/5"
app.config["CELERY"] = {"task_default_queue": "shop"}
Celeriac(app)
"""


def test_config_shows_values_and_origins_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SETTINGS)
    result = ask(*FLASK, "celery", "config", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "hush" not in result.stdout
    header, *rows = result.stdout.splitlines()
    column = header.index("FROM")
    values = header.index("VALUE")
    found = {row.split()[0]: (row[column:values].strip(), row[values:]) for row in rows}
    assert "CELERY_RESULT_BACKEND" in found["result_backend"][0]
    assert found["result_backend"][1].startswith("redis://")
    assert "CELERY" in found["task_default_queue"][0]
    assert found["task_default_queue"][1] == "shop"
    assert found["broker_url"][1].startswith("celeriac:///")
    assert "worker_hijack_root_logger" not in found or len(rows) < 100


def test_config_as_json_with_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SETTINGS)
    result = ask(*FLASK, "celery", "config", "--all", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = {row["setting"]: row for row in json.loads(result.stdout)}
    assert len(found) > 150
    assert found["task_default_queue"]["value"] == "shop"
    assert "hush" not in result.stdout
