"""What workers say of tasks that wait in the embedded file."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from tests.system.tasks import client
from tests.system.workers import worker


def test_a_worker_of_plain_celery_tells_of_them_as_celery_does(url: str, tmp_path: Path) -> None:
    eta = datetime.now(timezone.utc) + timedelta(hours=1)
    # The module registers its commands in the process, whoever's worker runs there.
    options = ("-P", "solo", "-n", "here@test", "-I", "flask_celeriac.worker.scheduled")
    with client(url) as app, worker(url, *options, log=tmp_path / "worker.log"):
        result = app.tasks["add"].apply_async((1,), {"y": 2}, eta=eta)
        inspect = app.control.inspect(["here@test"], timeout=10)
        [found] = (inspect.scheduled() or {})["here@test"]
        request = found["request"]
        assert (found["eta"], request["id"]) == (eta.isoformat(), result.id)
        assert (request["args"], request["kwargs"]) == ([1], {"y": 2})
        [state, asked] = (inspect.query_task([result.id]) or {})["here@test"][result.id]
        assert (state, asked) == ("scheduled", request)
