"""What one asks a worker and tells it, and the events it sends, are the same as on Celery's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conftest import LONG, System, lines
from tests.system.workers import wait_for

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")

WORKER = "one@test"


def ask(system: System, what: str, *arguments: Any, **more: Any) -> Any:
    """What the worker answers to a question."""
    inspect = system.app.control.inspect([WORKER], timeout=LONG, limit=1)
    answers = wait_for(lambda: getattr(inspect, what)(*arguments, **more), "an answer", LONG)
    assert list(answers) == [WORKER]
    return answers[WORKER]


def tell(system: System, command: str, **arguments: Any) -> Any:
    """What the worker answers to a command."""
    [answer] = system.app.control.broadcast(
        command, arguments, destination=[WORKER], reply=True, timeout=LONG, limit=1
    )
    return answer[WORKER]


def test_what_a_worker_is(system: System) -> None:
    assert ask(system, "ping") == {"ok": "pong"}
    assert [queue["name"] for queue in ask(system, "active_queues")] == ["celery"]
    assert {"add", "echo", "hold"} <= set(ask(system, "registered"))
    stats = ask(system, "stats")
    assert stats["pid"] == system.worker.pid
    assert stats["pool"]["max-concurrency"] == 2
    assert stats["broker"]["transport"]
    assert "celery" in ask(system, "report")["ok"]
    assert ask(system, "conf")["task_acks_late"] is True
    assert isinstance(ask(system, "clock")["clock"], int)


def test_what_runs_and_what_waits(system: System) -> None:
    path = system.file()
    running = [system.wait.delay(path) for _ in range(2)]
    ids = {result.id for result in running}

    def both() -> bool:
        return {task["id"] for task in ask(system, "active")} == ids

    wait_for(both, "both run", LONG)
    waiting = [system.add.delay(n, n) for n in range(3)]
    found = ask(system, "query_task", [running[0].id])
    assert found[running[0].id][0] == "active"
    assert {task["name"] for task in ask(system, "active")} == {"wait"}
    reserved = {task["id"] for task in ask(system, "reserved")}
    assert reserved <= {result.id for result in waiting}
    Path(path).touch()
    assert [result.get(timeout=LONG) for result in waiting] == [0, 2, 4]
    assert [result.get(timeout=LONG) for result in running] == ["waited"] * 2
    wait_for(lambda: ask(system, "active") == [], "nothing runs", LONG)


def test_what_is_scheduled(system: System) -> None:
    soon = datetime.now(timezone.utc) + timedelta(hours=1)
    later = system.add.apply_async((1, 2), {}, eta=soon + timedelta(hours=1))
    sooner = system.add.apply_async((1,), {"y": 2}, eta=soon)

    def scheduled() -> dict[str, Any]:
        return {each["request"]["id"]: each for each in ask(system, "scheduled")}

    found = wait_for(lambda: (all_ := scheduled()).keys() >= {sooner.id, later.id} and all_, "both")
    request = found[sooner.id].pop("request")
    assert found[sooner.id] == {"eta": soon.isoformat(), "priority": 6}
    assert request.pop("delivery_info") == {
        "exchange": "",
        "routing_key": "celery",
        "priority": 0,
        "redelivered": False,
    }
    # Ours tells of what kind arguments are.
    ours = system.name == "embedded"
    args, kwargs = (["<int>"], {"y": "<int>"}) if ours else ([1], {"y": 2})
    assert request == {
        "id": sooner.id,
        "name": "add",
        "type": "add",
        "args": args,
        "kwargs": kwargs,
        "hostname": WORKER,
        "time_start": None,
        "acknowledged": False,
        "worker_pid": None,
    }
    [state, asked] = ask(system, "query_task", [sooner.id, "unheard of"])[sooner.id]
    assert (state, asked["id"], asked["kwargs"]) == ("scheduled", sooner.id, kwargs)
    assert sooner.id not in {task["id"] for task in ask(system, "reserved")}
    sooner.revoke()
    later.revoke()


def test_what_was_revoked(system: System) -> None:
    result = system.add.apply_async((1, 1), countdown=3600)
    result.revoke()
    wait_for(lambda: result.id in ask(system, "revoked"), "it is revoked", LONG)


def test_a_queue_more(system: System) -> None:
    assert "ok" in tell(system, "add_consumer", queue="mail")
    assert system.add.apply_async((1, 1), queue="mail").get(timeout=LONG) == 2
    assert "ok" in tell(system, "cancel_consumer", queue="mail")
    wait_for(
        lambda: [queue["name"] for queue in ask(system, "active_queues")] == ["celery"],
        "it consumes one queue",
        LONG,
    )
    left = system.app.send_task("add", (1, 1), queue="mail")
    assert system.add.delay(2, 2).get(timeout=LONG) == 4
    assert left.state == "PENDING"
    with system.app.connection_for_write() as connection:
        assert connection.default_channel.queue_purge("mail") == 1


def test_a_pool_that_grows(system: System) -> None:
    assert "ok" in tell(system, "pool_grow", n=1)
    wait_for(lambda: len(ask(system, "stats")["pool"]["processes"]) == 3, "three", LONG)
    path = system.file()
    running = [system.wait.delay(path) for _ in range(3)]
    wait_for(lambda: len(ask(system, "active")) == 3, "three run", LONG)
    Path(path).touch()
    assert [result.get(timeout=LONG) for result in running] == ["waited"] * 3
    assert "ok" in tell(system, "pool_shrink", n=1)
    wait_for(lambda: len(ask(system, "stats")["pool"]["processes"]) == 2, "two", LONG)
    assert system.add.delay(2, 2).get(timeout=LONG) == 4


def test_limits_that_are_set_while_it_runs(system: System) -> None:
    assert "ok" in tell(system, "rate_limit", task_name="echo", rate_limit="100/s")
    assert [system.echo.delay(n).get(timeout=LONG) for n in range(3)] == [0, 1, 2]
    assert "ok" in tell(system, "rate_limit", task_name="echo", rate_limit=None)
    assert "ok" in tell(system, "time_limit", task_name="careful", soft=0.1, hard=60)
    assert system.careful.delay().get(timeout=LONG) == "in time"
    assert "error" in tell(system, "rate_limit", task_name="unheard of", rate_limit="1/s")


def test_a_rate_limit_keeps_tasks_back_and_loses_none(system: System) -> None:
    path = system.file()
    assert "ok" in tell(system, "rate_limit", task_name="write", rate_limit="10/s")
    results = [system.write.delay(n, path) for n in range(4)]
    assert [result.get(timeout=LONG) for result in results] == [0, 1, 2, 3]
    assert len(lines(path, 4)) == 4
    assert "ok" in tell(system, "rate_limit", task_name="write", rate_limit=None)


@contextmanager
def events(system: System) -> Iterator[list[dict[str, Any]]]:
    """The events that come meanwhile."""
    seen: list[dict[str, Any]] = []
    listening, ended = threading.Event(), threading.Event()

    def listen() -> None:
        with system.app.connection_for_read() as connection:
            receiver = system.app.events.Receiver(connection, handlers={"*": seen.append})
            with receiver.consumer_context() as (consuming, _, _):
                while not ended.is_set():
                    with suppress(TimeoutError):
                        consuming.drain_events(timeout=0.1)
                    if seen:  # a heartbeat; Redis has no subscriber before the first drain
                        listening.set()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        assert listening.wait(LONG)
        yield seen
    finally:
        ended.set()
        thread.join()


def test_events(system: System) -> None:
    with events(system) as seen:
        good, bad = system.add.delay(1, 2), system.fail.delay()
        flaky = system.flaky.delay(1)
        for result in (good, bad, flaky):
            result.get(timeout=LONG, propagate=False)

        def kinds(task_id: str) -> list[str]:
            return [str(event["type"]) for event in seen if event.get("uuid") == task_id]

        wait_for(lambda: "task-succeeded" in kinds(good.id), "a success", LONG)
        wait_for(lambda: "task-failed" in kinds(bad.id), "a failure", LONG)
        wait_for(lambda: "task-succeeded" in kinds(flaky.id), "a success at last", LONG)
        wait_for(
            lambda: any(event["type"] == "worker-heartbeat" for event in seen), "a heartbeat", LONG
        )
    assert sorted(kinds(good.id)) == [
        "task-received",
        "task-sent",
        "task-started",
        "task-succeeded",
    ]
    assert "task-retried" in kinds(flaky.id)
