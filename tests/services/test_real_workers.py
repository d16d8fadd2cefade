"""Whole workers, as people start them."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest

from .conftest import Worker

SHOP = """
import asyncio
import celery
from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from celery.result import AsyncResult
from flask import Flask, current_app, url_for
from flask_celeriac import Celeriac

celeriac = Celeriac()


@shared_task
def shared():
    return current_app.name


@celeriac.task
def look():
    other = Flask("other")
    Celeriac(other)
    with other.app_context():
        elsewhere = [celery.current_app.main, shared.app.main, AsyncResult("x").app.main]
    del other
    return {
        "name": current_app.name,
        "here": [celery.current_app.main, shared.app.main, AsyncResult("x").app.main],
        "elsewhere": elsewhere,
        "url": url_for("index", _external=True),
    }


@celeriac.task(soft_time_limit=1)
async def endless():
    while True:
        await asyncio.sleep(60)  # asyncio swallows what a signal raises in its callbacks


@celeriac.periodic(0.2, name="tick")
def tick():
    current_app.logger.warning("tick")


app = Flask("shop")
app.add_url_rule("/", "index", lambda: "")
celeriac.init_app(app)
celery_app = app.extensions["celery"]
celery = celery  # the module, for the tasks


@app.cli.command("send")
def send():
    with app.test_request_context(base_url="https://shop.example/app"):
        result = look.delay()
        slow = endless.delay()
        alone = shared.delay()
    print([result.get(timeout=30), slow.get(timeout=30, propagate=False), alone.get(timeout=30)])
"""


@pytest.fixture(params=["embedded", "redis"])
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "embedded":
        return {}
    url = request.getfixturevalue("redis_url")
    return {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}


def test_prefork(
    start: Callable[..., Worker], run: Callable[..., str], environ: dict[str, str]
) -> None:
    worker = start(SHOP, "-c", "2", "-l", "INFO", app="celery_app", **environ)
    worker.wait_for("ready.")
    script = "import shop; shop.app.test_cli_runner().invoke(args=['send'], catch_exceptions=False)"
    script = script.replace("shop.app.test", "r = shop.app.test") + "; print(r.output)"
    look, slow, alone = ast.literal_eval(
        run(script, **environ).strip().replace("SoftTimeLimitExceeded()", "'too slow'")
    )
    assert look == {
        "name": "shop",
        "here": ["shop"] * 3,
        "elsewhere": ["other"] * 3,
        "url": "https://shop.example/app/",
    }
    assert slow == "too slow"
    assert alone == "shop"


def test_periodic_tasks_run_on_beat(start: Callable[..., Worker]) -> None:
    worker = start(SHOP, "-B", "-c", "1", "-l", "INFO", app="celery_app")
    worker.wait_for("Sending due task tick")
    worker.wait_for("]: tick")
