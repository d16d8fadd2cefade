"""A Flask application with Celeriac and no broker configured: the embedded one."""

from __future__ import annotations

import os

from flask import Flask

from bench import marks
from flask_celeriac import Celeriac

celeriac = Celeriac()


@celeriac.task
def add(x: int, y: int) -> int:
    """Do next to nothing, so that what is measured is the machinery."""
    marks.tick(x)
    return x + y


@celeriac.task(ignore_result=True)
def add_unrecorded(x: int, y: int) -> int:
    """Do the same, the result being thrown away."""
    marks.tick(x)
    return x + y


def create_app() -> Flask:
    """Make the application, its instance folder being the run's own."""
    app = Flask("bench", instance_path=os.environ["BENCH_HOME"])
    app.config["CELERIAC_DURABILITY"] = os.environ["BENCH_DURABILITY"]
    app.config["CELERIAC_RECORDS"] = os.environ["BENCH_RECORDS"]
    celeriac.init_app(app)
    return app
