from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

SHOP = '''
import time
from pathlib import Path

import click
from flask import Flask
from flask_celeriac import Celeriac

celeriac = Celeriac()
FACTOR = 1


@celeriac.task(queue="sums")
def add(a: int, b: int) -> int:
    return (a + b) * FACTOR


@celeriac.task
def long(ledger: str) -> None:
    """Too long the first time, done the second time."""
    path = Path(ledger)
    first = not path.exists()
    with path.open("a") as file:
        file.write("started\\n")
    if first:
        time.sleep(300)
    with path.open("a") as file:
        file.write("done\\n")


@celeriac.task
def tick() -> str:
    return "tock"


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["CELERY"] = {
        "beat_schedule": {"tick": {"task": "shop.tick", "schedule": 0.5}},
    }
    celeriac.init_app(app)

    @app.get("/add/<int:a>/<int:b>")
    def add_page(a: int, b: int) -> str:
        return str(add.delay(a, b).get(timeout=40))

    @app.get("/factor")
    def factor_page() -> str:
        return str(FACTOR)

    @app.cli.command("add")
    @click.argument("a", type=int)
    @click.argument("b", type=int)
    def add_command(a: int, b: int) -> None:
        print("sum", add.delay(a, b).get(timeout=40))

    @app.cli.command("long")
    @click.argument("ledger")
    def long_command(ledger: str) -> None:
        print("id", long.delay(ledger).id)

    return app
'''

MAKE_CELERY = """
from shop import create_app

flask_app = create_app()
celery_app = flask_app.extensions["celery"]
"""

MODULE = """
from flask import Flask
from flask_celeriac import Celeriac

app = Flask(__name__)
celeriac = Celeriac(app)
celery = app.extensions["celery"]


@celeriac.task
def add(a: int, b: int) -> int:
    return a + b


@app.cli.command("ask")
def ask() -> None:
    print("sum", add.delay(2, 3).get(timeout=40))
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A directory with an application that has a factory, and one at module level."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text(textwrap.dedent(SHOP))
    (tmp_path / "make_celery.py").write_text(MAKE_CELERY)
    (tmp_path / "plain.py").write_text(MODULE)
    return tmp_path
