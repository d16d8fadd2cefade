"""A Flask application whose tasks are followed live, and others that are started meanwhile."""

from __future__ import annotations

import os
import time

from flask import Flask

from flask_celeriac import Access, Celeriac

celeriac = Celeriac()


@celeriac.task(name="live.long", http=True)
def long(seconds: float) -> None:
    """Say something new whenever it may be written."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        celeriac.progress(number, message="going on")
        time.sleep(0.05)


@celeriac.task(name="live.started", http=True, queue="idle", ignore_result=True)
def started(number: int) -> None:
    """Wait for ever: nobody consumes its queue."""


def create_app() -> Flask:
    """Make the application, its instance folder being the run's own."""
    app = Flask("live", instance_path=os.environ["BENCH_HOME"])
    celeriac.init_app(app)
    api = celeriac.api(access=lambda: Access.OPERATE, streams=1000)
    app.register_blueprint(api, url_prefix="/api")
    return app
