"""What a real worker process writes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from .conftest import Worker

SOURCE = """
import logging
from logging.config import dictConfig
{before}
from celery.utils.log import get_task_logger
from flask import Flask, current_app
from flask_celeriac import Celeriac

celeriac = Celeriac()

@celeriac.task
def speak() -> None:
    current_app.logger.info("from the app")
    logging.getLogger("a.library").info("from a library")
    get_task_logger(__name__).info("from a task logger")
    print("printed")

app = Flask("shop")
app.config["CELERY"] = {{"result_backend": "cache+memory://"}}
{configure}
celeriac.init_app(app)
celery = app.extensions["celery"]
"""

SAID = ["from the app", "from a library", "from a task logger", "printed"]


def send(run: Callable[..., str], task: str = "speak") -> str:
    return run(f"import shop; print(shop.{task}.delay().id)").strip()


def lines(output: str, text: str) -> list[str]:
    return [line for line in output.splitlines() if line.endswith(text)]


@pytest.mark.parametrize(
    ("pool", "configure"),
    [
        ("prefork", ""),
        ("solo", ""),
        # Flask has given it a handler by now.
        ("prefork", "app.logger.setLevel('INFO'); app.logger"),
        ("solo", "app.debug = True; app.logger"),
    ],
)
def test_each_line_once_with_the_tasks_id(
    start: Callable[..., Worker], run: Callable[..., str], pool: str, configure: str
) -> None:
    source = SOURCE.format(before="", configure=configure)
    worker = start(source, "-l", "INFO", "-P", pool, "-c", "1")
    worker.wait_for("ready.")
    task_id = send(run)
    worker.wait_for("succeeded")
    output = worker.output
    for text in SAID:
        assert len(lines(output, text)) == 1, output
        assert re.search(rf"/\S+\] shop\.speak\[{task_id}\]: {text}$", output, re.MULTILINE), output
    received = lines(output, f"Task shop.speak[{task_id}] received")
    assert len(received) == 1
    assert received[0].count("shop.speak") == 1


def test_the_users_root_logger_is_kept(
    start: Callable[..., Worker], run: Callable[..., str]
) -> None:
    configured = """
dictConfig({
    "version": 1,
    "formatters": {"own": {"format": "OWN %(task_name)s %(task_id)s %(levelname)s %(message)s"}},
    "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}},
    "root": {"level": "INFO", "handlers": ["own"]},
})
"""
    source = SOURCE.format(before=configured, configure="app.logger")
    worker = start(source, "-l", "WARNING", "-c", "1")
    # No line of Celery's says so at this level.
    worker.wait_for("concurrency")
    task_id = send(run)
    worker.wait_for("OWN shop.speak " + task_id + " WARNING printed")
    output = worker.output
    for text in SAID:
        level = "WARNING" if text == "printed" else "INFO"
        assert lines(output, text) == [f"OWN shop.speak {task_id} {level} {text}"], output
    assert "received" not in output


def test_celerys_signals_mean_what_they_did(
    start: Callable[..., Worker], run: Callable[..., str]
) -> None:
    before = """
from celery import signals

@signals.after_setup_logger.connect
def add(logger, **_):
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("ROOT %(task_id)s %(message)s"))
    logger.addHandler(handler)

@signals.after_setup_task_logger.connect
def change(logger, **_):
    for handler in logger.handlers:
        handler.setFormatter(logging.Formatter("TASK %(message)s"))
"""
    worker = start(SOURCE.format(before=before, configure=""), "-l", "INFO", "-c", "1")
    worker.wait_for("ready.")
    task_id = send(run)
    worker.wait_for("succeeded")
    output = worker.output
    assert lines(output, "from a task logger") == ["TASK from a task logger"]
    assert f"ROOT {task_id} from the app" in output


def test_setup_logging_is_left_to_its_receiver(
    start: Callable[..., Worker], run: Callable[..., str]
) -> None:
    before = """
from celery import signals

@signals.setup_logging.connect
def setup(**_):
    logging.basicConfig(level="INFO", format="MINE %(message)s")
"""
    worker = start(SOURCE.format(before=before, configure=""), "-l", "INFO", "-c", "1")
    worker.wait_for("ready.")
    send(run)
    worker.wait_for("succeeded")
    output = worker.output
    assert lines(output, "from the app") == ["MINE from the app"]
