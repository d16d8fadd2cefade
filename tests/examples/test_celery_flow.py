"""One task of the example `celery` goes the way that its README draws."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.examples import EXAMPLES, SYSTEMS, Example, new_system
from tests.support.flow import arrows
from tests.support.processes import Running, wait_for
from tests.support.queues import only_task_in


class OneTask:
    """Follows one task; each method is an arrow."""

    def __init__(self, example: Example) -> None:
        self.example = example
        self.id = ""
        self.worker: Running | None = None

    def is_called(self) -> None:
        self.id = self.example.get("/add/2/40").json()["id"]
        assert self.state() == "PENDING"

    def is_in_the_queue(self) -> None:
        waiting = only_task_in(self.example.broker_url)
        assert waiting == ("task_app.tasks.add", self.id, [2, 40])
        assert self.state() == "PENDING"

    def is_received(self) -> None:
        self.worker = self.example.worker("--pool", "solo", celery="make_celery")
        self.worker.sees(f"Task task_app.tasks.add[{self.id}] received")

    def is_stored(self) -> None:
        assert self.worker is not None
        self.worker.sees(re.compile(rf"add\[{self.id}\] succeeded in .*: 42"))

    def is_read(self) -> None:
        wait_for(lambda: self.state() == "SUCCESS", "the result")
        answer = self.example.get(f"/result/{self.id}").json()
        assert answer == {"id": self.id, "state": "SUCCESS", "result": 42}

    def state(self) -> str:
        answer = self.example.get(f"/result/{self.id}")
        assert answer.status_code == 200, answer.text
        state: str = answer.json()["state"]
        return state


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_task_goes_the_way_that_is_drawn(name: str, tmp_path: Path) -> None:
    with (
        new_system(name) as system,
        Example("celery", tmp_path, system, app="make_celery") as example,
    ):
        example.web()
        task = OneTask(example)
        seen: dict[tuple[str, str], Callable[[], None]] = {
            ("Flask view", "Celery task"): task.is_called,
            ("Celery task", "Broker"): task.is_in_the_queue,
            ("Broker", "Worker"): task.is_received,
            ("Worker", "Result"): task.is_stored,
            ("Result", "Flask view"): task.is_read,
        }
        drawn = [(each.source, each.target) for each in arrows(EXAMPLES / "celery" / "README.md")]
        assert drawn == list(seen)
        for arrow in drawn:
            seen[arrow]()
