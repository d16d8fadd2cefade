"""The configuration for quorum queues that the documents show, with a real worker."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from tests.support import services

from .conftest import Worker

SHOP = """
from flask import Flask
from flask_celeriac import Celeriac

app = Flask("shop")
app.config["CELERY"] = {
    "task_default_queue": "shop",
    "task_default_queue_type": "quorum",
    "task_default_exchange": "shop",
    "task_default_exchange_type": "topic",
    "task_default_routing_key": "shop",
    "task_create_missing_queue_type": "quorum",
    "task_create_missing_queue_exchange_type": "topic",
}
celeriac = Celeriac(app)
celery = app.extensions["celery"]


@celeriac.task
def double(x):
    return 2 * x


@app.cli.command("send")
def send():
    print([double.delay(2).get(timeout=60), double.apply_async((3,), countdown=2).get(timeout=60)])
    far = double.apply_async((4,), countdown=600)
    print([held for held in celery.control.inspect(timeout=10).scheduled().values()], far.state)
"""


def test_tasks_and_dates_in_quorum_queues(
    start: Callable[..., Worker],
    run: Callable[..., str],
    rabbitmq_url: str,
    redis_url: str,
) -> None:
    environ = {"CELERY_BROKER_URL": rabbitmq_url, "CELERY_RESULT_BACKEND": redis_url}
    worker = start(SHOP, "-c", "1", "-l", "INFO", **environ)
    worker.wait_for("ready.")
    script = "import shop; print(shop.app.test_cli_runner().invoke(args=['send']).output)"
    assert run(script, **environ).split("\n")[:2] == ["[4, 6]", "[[]] PENDING"]
    path = f"/queues{urlsplit(rabbitmq_url).path}/shop"
    assert services.rabbitmq_api(rabbitmq_url, "GET", path).json()["type"] == "quorum"
