"""The same on plain Celery: nothing of Flask-Celeriac is imported here."""

from __future__ import annotations

from celery import Celery

from tests.faults.harness import tasks
from tests.faults.harness.setup import Setup

setup = Setup.read()
app = Celery("faults", broker=setup.broker, backend=setup.results)
app.conf.update(setup.celery)
for function in (*tasks.TASKS, *([tasks.newer] if setup.version > 1 else [])):
    app.task(name=function.__name__)(function)
