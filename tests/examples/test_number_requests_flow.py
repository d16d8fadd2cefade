"""The drawing of the README, followed with one request on each broker."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.examples import EXAMPLES, System
from tests.support.flow import arrows

from .number_requests_support import NAME, Site


def test_one_request_takes_every_arrow(system: System, tmp_path: Path) -> None:
    drawn = {(arrow.source, arrow.target) for arrow in arrows(EXAMPLES / NAME / "README.md")}
    seen: set[tuple[str, str]] = set()
    with Site(tmp_path, system) as site:
        web = site.serve()
        body = {"rid": 7, "numbers": [1], "jobtodo": ["sum"]}
        task_id = site.begin("POST", "/number_request", json=body)
        web.sees("POST /number_request HTTP/1.1")
        seen.add(("Client", "Flask"))
        assert site.queued() == 1
        assert site.check(task_id)["status"] == "PENDING"
        assert site.rows("*") == []
        seen.add(("Flask", "Broker"))

        worker = site.work()
        worker.sees(f"handle_number_requests[{task_id}] received")
        seen.add(("Broker", "Celery worker"))
        assert site.ended(task_id)["response"] == "OK"
        seen |= {("Celery worker", "Results"), ("Flask", "Results")}
        assert site.rows("request_id, numbers, jobToDo") == [(7, 1, "sum")]
        seen.add(("Celery worker", "Database"))

        worker.sees("Sending due task periodic_sum")
        task = worker.sees(re.compile(r"sum_task\[(\S+)\] succeeded in \S+ 'numbers processed: 1'"))
        assert f"sum_task[{task[1]}] received" in worker.output
        seen.add(("Celery beat", "Broker"))
        worker.sees(re.compile(r"sum.py is process \d+ and has numbers: 1"))
        seen.add(("Celery worker", "Processing"))
        web.sees("POST /update_request HTTP/1.1")
        worker.sees(re.compile(r"update_number_requests\S+ succeeded in \S+ {'updated': 1,"))
        seen.add(("Processing", "Flask"))
        assert site.rows("state, result_numbers") == [("done", 3)]
    assert seen == drawn
