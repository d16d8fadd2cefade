"""The application under test: Flask with Celeriac, told by its environment where things are."""

from __future__ import annotations

from flask import Flask

from flask_celeriac import Celeriac
from tests.faults.harness import tasks
from tests.faults.harness.setup import Setup

setup = Setup.read()
flask_app = Flask("faults", instance_path=setup.home)
flask_app.config["CELERY"] = dict(setup.celery)
if setup.broker:
    flask_app.config["CELERY"]["broker_url"] = setup.broker
if setup.database:
    flask_app.config["CELERIAC_DATABASE"] = setup.database
flask_app.config.update(setup.flask)
celeriac = Celeriac()
for function in (*tasks.TASKS, *([tasks.newer] if setup.version > 1 else [])):
    celeriac.task(name=function.__name__, **setup.tasks.get(function.__name__, {}))(function)
celeriac.init_app(flask_app)
app = flask_app.extensions["celery"]


def prepare() -> None:
    """Have the tables made, by asking for a record."""
    assert app.AsyncResult("nobody's").state == "PENDING"
