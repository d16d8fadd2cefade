"""Results that another backend than ours keeps are answered, too."""

from __future__ import annotations

import json
from pathlib import Path

from kombu import pools

from tests.api.conftest import Client, make_app
from tests.services.conftest import working


def test_a_result_from_elsewhere(tmp_path: Path) -> None:
    app = make_app(tmp_path, CELERY={"result_backend": "cache+memory://"})
    api = Client(app.test_client())
    with working(app):
        task = api.start("api.add", 40, wait=30)
    assert task["result"] == 42
    assert api.get(f"/tasks/{task['id']}")["result"] == 42
    told = api("GET", f"/tasks/{task['id']}/events").text.partition("event: task\ndata: ")[2]
    assert json.loads(told.splitlines()[0])["result"] == 42
    pools.reset()
