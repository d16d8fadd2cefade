"""Garbage in a queue is put away, and the worker goes on: the short form of recipe T24."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from flask_celeriac import Celeriac
from tests.faults import garbage

from .conftest import Worker, working
from .systems import RECORDED, inject, system

SHOP = """
    import json, os
    from flask import Flask
    from flask_celeriac import Celeriac

    celeriac = Celeriac()

    @celeriac.task(name="shop.add")
    def add(a, b):
        return a + b

    app = Flask("shop", instance_path=os.environ["PLACE"])
    app.config["CELERY"] = {"broker_url": os.environ["BROKER"], "task_default_queue": "system"}
    celeriac.init_app(app)
    celery = app.extensions["celery"]
"""


@pytest.mark.parametrize("name", RECORDED)
def test_garbage_is_accounted_for(name: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    with system(name, tmp_path, garbage.celeriac) as app, working(app):
        assert garbage.swallowed(app, seed, 40, print) == []


def test_no_process_of_a_worker_loads_a_pickle(
    start: Callable[..., Worker], tmp_path: Path, redis_url: str
) -> None:
    """With pool processes, and with a configuration that accepts pickle after all."""
    accepts = '    celery.conf.accept_content = ["json", "pickle"]\n'
    worker = start(SHOP + accepts, "--pool=prefork", "-c1", "-l", "INFO",
                   PLACE=str(tmp_path), BROKER=redis_url, C_FORCE_ROOT="1")  # fmt: skip
    worker.wait_for("ready.")
    celeriac = Celeriac()
    app = Flask("shop", instance_path=str(tmp_path))
    app.config["CELERY"] = {"broker_url": redis_url, "task_default_queue": "system"}
    celeriac.init_app(app)
    planted = tmp_path / "planted"
    with app.app_context():
        for number, task in enumerate(["shop.add", "shop.unknown"]):
            found = garbage.headers(number, task=task)
            inject(app, pickle.dumps([(garbage.Planted(planted),), {}, {}]), headers=found,
                   content_type=garbage.PICKLE[0], content_encoding="binary")  # fmt: skip
        old = {"task": "shop.add", "id": "old", "args": [garbage.Planted(planted)]}
        inject(app, pickle.dumps(old),
               content_type=garbage.PICKLE[0], content_encoding="binary")  # fmt: skip
        app.extensions["celery"].send_task("shop.add", (1, 2))
    worker.wait_for("succeeded in")
    assert worker.output.count("is a dead letter (content)") == 3
    assert not planted.exists()
