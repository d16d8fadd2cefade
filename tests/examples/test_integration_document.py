"""Applications in the shape of the document: everything in one module, tasks on an instance."""

from __future__ import annotations

from pathlib import Path

from tests.support.examples import Example, System

MODULE = """
from flask import Flask, request

{imports}

app = Flask(__name__)
celery = {instance}


@celery.task
def send_email(recipient, content):
    print(f"{{recipient}} is sent {{content}}")


@app.route("/send_email", methods=["POST"])
def send_email_route():
    recipient = request.form["recipient"]
    content = request.form["content"]
    send_email.apply_async(args=[recipient, content])
    return "Email sent!"
"""


def application(folder: Path, system: System, imports: str, instance: str) -> Example:
    source = folder / "single"
    source.mkdir()
    (source / "single.py").write_text(MODULE.format(imports=imports, instance=instance))
    (folder / "run").mkdir()
    return Example(source, folder / "run", system, app="single")


def send(example: Example) -> str:
    answer = example.post("/send_email", data={"recipient": "user@example.com", "content": "Hello"})
    assert answer.status_code == 200
    return answer.text


def test_ours_in_its_place_runs_on_the_embedded_broker(tmp_path: Path) -> None:
    """On the others the example itself does."""
    imports = "from flask_celeriac import celery_init_app"
    embedded = System("embedded")
    with application(tmp_path, embedded, imports, "celery_init_app(app)") as example:
        example.web()
        assert send(example) == "Email sent!"
        example.worker("-P", "solo").sees("user@example.com is sent Hello")


def test_celerys_own_instance_runs_as_it_is(rabbitmq_url: str, tmp_path: Path) -> None:
    with application(
        tmp_path,
        System("rabbitmq"),
        "from celery import Celery",
        f"Celery(app.name, broker={rabbitmq_url!r})",
    ) as example:
        example.web()
        assert send(example) == "Email sent!"
        worker = example.worker("-P", "solo", celery="single.celery")
        worker.sees("user@example.com is sent Hello")
