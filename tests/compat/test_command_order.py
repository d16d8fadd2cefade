"""What Celery's own command says to yesterday's order, and to a module whose `app` is Flask's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from celery import Celery
from click import Context, Option
from flask import Flask

from flask_celeriac import Celeriac
from flask_celeriac.cli.app_option import UserOptions
from tests.support.processes import clean_environment


def test_the_old_order_gets_the_new_one_printed(tmp_path: Path) -> None:
    old = subprocess.run(
        [sys.executable, "-m", "celery", "worker", "-A", "wsgi_app.celery", "--loglevel=info"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert old.returncode == 2
    assert "celery -A celeryapp worker <...>" in old.stderr + old.stdout


def test_the_celery_command_goes_on_with_the_celery_of_a_flask_application(tmp_path: Path) -> None:
    from celery.bin.base import CLIContext

    app: Any = Flask("shop", instance_path=str(tmp_path))
    Celeriac(app)
    celery: Celery[Any] = app.extensions["celery"]
    option = Option(["--fast"])
    celery.user_options["worker"].add(option)
    with Context(_command(), obj=CLIContext(app, True, None)) as ctx:
        assert ctx.obj.app is app
        assert set(ctx.obj.app.user_options.get("worker", [])) == {option}
        assert ctx.obj.app is celery
    assert list(app.user_options.get("beat", [])) == []


def test_an_application_with_user_options_of_its_own_keeps_them(tmp_path: Path) -> None:
    app: Any = Flask("shop", instance_path=str(tmp_path))
    app.user_options = {"theme": "dark"}
    Celeriac(app)
    assert app.user_options == {"theme": "dark"}
    assert not isinstance(app.user_options, UserOptions)


def _command() -> Any:
    from celery.bin.worker import worker

    return worker
