"""The configuration: Celery's settings in lower case, straight in Flask's."""

from __future__ import annotations

import json
from pathlib import Path

from .number_requests_support import Site

AS_THE_DOCUMENT_DID = """
from main_app.app import create_app

other = create_app({
    "CELERY_BROKER_URL": "redis://broker.example/0",
    "result_backend": "redis://results.example/1",
    "timezone": "utc",
    "result_persistent": True,
})
conf = other.extensions["celery"].conf
print(conf.broker_url, conf.result_backend, conf.timezone, conf.result_persistent)
"""


def test_settings_in_lower_case_are_in_force(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        listed = site.script("-m", "flask", "--app", "wsgi_app", "celery", "config", "--json")
    found = {item["setting"]: item for item in json.loads(listed)}
    for name, value in (("timezone", "UTC"), ("result_persistent", False)):
        assert found[name]["value"] == value
        assert found[name]["from"] == f'app.config["{name}"]'
    assert "periodic_sum" in str(found["beat_schedule"]["value"])


def test_settings_can_be_overridden(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        shown = site.python(AS_THE_DOCUMENT_DID)
    assert shown == "redis://broker.example/0 redis://results.example/1 UTC True\n"


def test_without_settings_it_is_port_5000_and_every_minute(tmp_path: Path) -> None:
    with Site(tmp_path, PORT="", NUMBER_REQUESTS_SECONDS="") as site:
        shown = site.python("print(app.config['PORT'], *celery.conf.beat_schedule.values())")
    assert shown.startswith("5000 ")
    assert shown.count("<crontab: * * * * * (m/h/dM/MY/d)>") == 2
    assert "'task': 'main_app.tasks.tasks.sum_task'" in shown
    assert "'task': 'main_app.tasks.tasks.mul_task'" in shown
