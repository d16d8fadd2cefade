"""Results as Celery shows them, on every database that may hold them."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, states
from celery.exceptions import TimeoutError
from celery.result import GroupResult, ResultSet
from sqlalchemy import select

from flask_celeriac.records.backend import Backend
from flask_celeriac.tables import record
from tests.system.tasks import client


class OrderError(Exception):
    """An exception a task of the user's raises."""


def request(**more: Any) -> SimpleNamespace:
    """As much of a task's request as a backend reads."""
    defaults: dict[str, Any] = {
        "group": None,
        "parent_id": None,
        "children": [],
        "root_id": "x",
        "eta": None,
        "headers": None,
        "ignore_result": False,
        "is_eager": False,
        "task": "add",
        "args": [1, 2],
        "kwargs": {"z": 3},
        "hostname": "here@test",
        "retries": 0,
        "delivery_info": {"routing_key": "celery"},
        "stamps": None,
        "stamped_headers": None,
        "chord": None,
        "id": "x",
        "errbacks": None,
    }
    return SimpleNamespace(**{**defaults, **more})


def test_an_unknown_task_is_pending(app: Celery) -> None:
    result = app.AsyncResult("unknown")
    assert (result.state, result.result, result.ready()) == ("PENDING", None, False)
    assert result.traceback is None
    assert result.date_done is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        3.5,
        "text: grüße \U0001f600",
        [1, [2, {"a": None}]],
        {"key": "value", "nested": {"list": [True]}},
        "x" * 200_000,
        datetime(2026, 3, 29, 2, 30, tzinfo=timezone.utc),
        b"\x00\xff binary",
    ],
    ids=["none", "zero", "float", "text", "list", "dict", "long", "datetime", "bytes"],
)
def test_a_result_comes_back_as_it_was(app: Celery, backend: Backend, value: Any) -> None:
    backend.store_result("one", value, states.SUCCESS)
    result = app.AsyncResult("one")
    assert result.state == "SUCCESS"
    assert result.get(timeout=5) == value
    assert result.successful()


def test_when_a_task_ended(app: Celery, backend: Backend) -> None:
    backend.store_result("one", 1, states.SUCCESS)
    done = app.AsyncResult("one").date_done
    assert done is not None
    assert done.tzinfo is not None
    assert abs(datetime.now(timezone.utc) - done) < timedelta(seconds=60)


def test_states_on_the_way(app: Celery, backend: Backend) -> None:
    result = app.AsyncResult("one")
    backend.store_result("one", {"pid": 1}, states.STARTED)
    assert result.state == "STARTED"
    backend.store_result("one", {"current": 3, "total": 10}, "PROGRESS")
    assert result.state == "PROGRESS"
    assert result.info == {"current": 3, "total": 10}
    assert result.date_done is None
    backend.mark_as_done("one", "end")
    assert (result.state, result.result) == ("SUCCESS", "end")


def test_a_retry_keeps_its_exception(app: Celery, backend: Backend) -> None:
    backend.mark_as_retry("one", OrderError("again"), traceback="Traceback: ...")
    result = app.AsyncResult("one")
    assert result.state == "RETRY"
    assert isinstance(result.result, OrderError)
    assert result.traceback == "Traceback: ..."
    assert not result.ready()


def test_a_failure_raises_the_tasks_exception(app: Celery, backend: Backend) -> None:
    backend.mark_as_failure("one", OrderError("no stock", 3), traceback="Traceback: ...")
    result = app.AsyncResult("one")
    assert result.state == "FAILURE"
    assert result.traceback == "Traceback: ..."
    with pytest.raises(OrderError) as caught:
        result.get(timeout=5)
    assert caught.value.args == ("no stock", 3)
    assert isinstance(result.get(timeout=5, propagate=False), OrderError)


def test_a_revoked_task(app: Celery, backend: Backend) -> None:
    from celery.exceptions import TaskRevokedError

    backend.mark_as_revoked("one", "no longer wanted")
    result = app.AsyncResult("one")
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError, match="no longer wanted"):
        result.get(timeout=5)


def test_the_first_success_is_kept(app: Celery, backend: Backend) -> None:
    backend.mark_as_done("one", "first")
    backend.mark_as_done("one", "second")
    backend.store_result("one", {"current": 1}, "PROGRESS")
    backend.mark_as_failure("one", OrderError("late"))
    result = app.AsyncResult("one")
    assert (result.state, result.result) == ("SUCCESS", "first")


def test_a_success_after_a_failure_counts(app: Celery, backend: Backend) -> None:
    backend.mark_as_failure("one", OrderError("first run"))
    backend.mark_as_done("one", "second run")
    result = app.AsyncResult("one")
    assert (result.state, result.result, result.traceback) == ("SUCCESS", "second run", None)


def test_children_and_parents(app: Celery, backend: Backend) -> None:
    child = app.AsyncResult("child")
    backend.store_result(
        "one", 1, states.SUCCESS, request=request(children=[child], parent_id="above")
    )
    result = app.AsyncResult("one")
    assert result.children == [child]
    meta = backend.get_task_meta("one")
    assert meta["parent_id"] == "above"


def test_extended_results(app: Celery, backend: Backend) -> None:
    app.conf.result_extended = True
    backend.store_result("one", 1, states.SUCCESS, request=request())
    result = app.AsyncResult("one")
    assert result.name == "add"
    assert list(result.args or []) == [1, 2]
    assert result.kwargs == {"z": 3}
    assert result.worker == "here@test"
    assert result.queue == "celery"
    assert result.retries == 0


def test_extended_results_of_arguments_json_knows_nothing_of(url: str) -> None:
    args = [{1, 2}, range(3)]
    with client(url, broker="memory://") as app:
        app.conf.update(
            result_extended=True, result_serializer="pickle", accept_content=["json", "pickle"]
        )
        app.backend.store_result("one", 1, states.SUCCESS, request=request(args=args))
        result = app.AsyncResult("one")
        assert result.get(timeout=5) == 1
        assert list(result.args or []) == args


@pytest.mark.parametrize("serializer", ["pickle", "yaml"])
def test_other_serializers(url: str, serializer: str) -> None:
    with client(url, broker="memory://") as app:
        app.conf.update(result_serializer=serializer, accept_content=["json", serializer])
        app.backend.store_result("one", {"a": [1, 2]}, states.SUCCESS)
        assert app.AsyncResult("one").get(timeout=5) == {"a": [1, 2]}


def test_compressed_results(url: str) -> None:
    with client(url, broker="memory://") as app:
        app.conf.update(result_compression="zlib")
        app.backend.store_result("one", "x" * 10_000, states.SUCCESS)
        assert app.AsyncResult("one").get(timeout=5) == "x" * 10_000


@pytest.mark.parametrize("task_id", ["a/b/../c", "x" * 255, "grüße", "with space", ".", "UPPER"])
def test_any_task_id(app: Celery, backend: Backend, task_id: str) -> None:
    waiting = threading.Thread(target=lambda: app.AsyncResult(task_id).get(timeout=20))
    waiting.start()
    backend.store_result(task_id, 1, states.SUCCESS)
    waiting.join()
    assert app.AsyncResult(task_id).result == 1


def test_ids_that_differ_in_case_only_are_two_tasks(app: Celery, backend: Backend) -> None:
    backend.store_result("task", 1, states.SUCCESS)
    backend.store_result("TASK", 2, states.SUCCESS)
    assert app.AsyncResult("task").result == 1
    assert app.AsyncResult("TASK").result == 2


def test_forget(app: Celery, backend: Backend) -> None:
    backend.store_result("one", 1, states.SUCCESS)
    result = app.AsyncResult("one")
    assert result.get(timeout=5) == 1
    result.forget()
    assert app.AsyncResult("one").state == "PENDING"


def test_groups_are_saved_and_restored(app: Celery, backend: Backend) -> None:
    members = [app.AsyncResult(f"member {n}") for n in range(3)]
    for number, member in enumerate(members):
        backend.store_result(member.id, number, states.SUCCESS)
    GroupResult("g", members, app=app).save()
    GroupResult("g", members, app=app).save()
    restored = GroupResult.restore("g", app=app)
    assert restored is not None
    assert restored.get(timeout=5) == [0, 1, 2]
    restored.delete()
    assert GroupResult.restore("g", app=app) is None


def test_a_set_of_results_is_waited_for(app: Celery, backend: Backend) -> None:
    results = [app.AsyncResult(f"{n}") for n in range(5)]

    def finish() -> None:
        for result in reversed(results):
            time.sleep(0.02)
            backend.store_result(result.id, int(result.id), states.SUCCESS)

    thread = threading.Thread(target=finish)
    thread.start()
    assert ResultSet(results, app=app).get(timeout=20) == [0, 1, 2, 3, 4]
    thread.join()


def test_cleanup_forgets_results_that_have_expired_and_keeps_the_records(
    app: Celery, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_celeriac.records.backend.EXPIRE_BATCH", 2)
    for number in range(5):
        backend.store_result(str(number), 1, states.SUCCESS)
    backend.store_result("old", 1, states.SUCCESS)
    GroupResult("g", [app.AsyncResult("old")], app=app).save()
    app.conf.result_expires = timedelta(hours=1)
    backend.expires = 3600
    backend.cleanup()
    assert app.AsyncResult("old").state == "SUCCESS"
    time.sleep(0.05)
    app.conf.result_expires = timedelta(milliseconds=1)
    backend.expires = 0.001
    backend.cleanup()
    assert app.AsyncResult("old").state == "PENDING"
    assert app.AsyncResult("old").result is None
    assert GroupResult.restore("g", app=app) is None
    with backend.engine.connect() as connection:
        rows = connection.execute(select(record.c.state, record.c.status, record.c.result)).all()
    assert rows == [("succeeded", None, None)] * 6


def test_results_that_never_expire(app: Celery, backend: Backend) -> None:
    backend.store_result("old", 1, states.SUCCESS)
    app.conf.result_expires = None
    backend.expires = None
    backend.cleanup()
    assert app.AsyncResult("old").state == "SUCCESS"


def test_a_wait_gives_up_in_time(app: Celery) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        app.AsyncResult("never").get(timeout=0.3)
    assert time.monotonic() - began >= 0.3


def test_a_result_stored_before_the_wait(app: Celery, backend: Backend) -> None:
    backend.store_result("one", 1, states.SUCCESS)
    assert app.AsyncResult("one").get(timeout=5) == 1


def test_many_wait_for_the_same_task(app: Celery, backend: Backend) -> None:
    found: list[Any] = []

    def wait() -> None:
        found.append(app.AsyncResult("one").get(timeout=20))

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    backend.store_result("one", "here", states.SUCCESS)
    for thread in threads:
        thread.join()
    assert found == ["here"] * 8


def test_threads_store_at_once(app: Celery, backend: Backend) -> None:
    def store(first: int) -> None:
        for number in range(first, first + 50):
            backend.store_result(str(number), number, states.SUCCESS)

    threads = [threading.Thread(target=store, args=(n * 50,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [app.AsyncResult(str(n)).result for n in range(200)] == list(range(200))


def test_the_same_task_stored_by_many_threads_succeeds_once(app: Celery, backend: Backend) -> None:
    values: list[int] = []

    def store(value: int) -> None:
        backend.store_result("one", value, states.SUCCESS)
        values.append(app.AsyncResult("one").result)

    threads = [threading.Thread(target=store, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(values)) == 1


def test_the_url_shows_no_password(app: Celery, backend: Backend, url: str) -> None:
    shown = backend.as_uri(include_password=False)
    assert shown.startswith("celeriac")
    assert shown == backend.as_uri()  # the test servers need no password


def test_a_password_in_the_url_is_masked() -> None:
    url = "celeriac+postgresql+psycopg://shop:s3cret@db.example/shop"
    with closing(Celery(set_as_current=False)) as app:
        backend = Backend(app, url=url.removeprefix("celeriac+"))
        assert backend.as_uri(include_password=False) == url.replace("s3cret", "***")
        assert backend.as_uri() == url


def test_a_backend_survives_pickling(backend: Backend) -> None:
    rebuilt, arguments = backend.__reduce__()[:2]
    assert rebuilt is not None
    assert arguments


def test_on_interval_is_called_while_waiting(app: Celery, backend: Backend) -> None:
    calls: list[int] = []

    def later(*_: Any) -> None:
        calls.append(1)
        backend.store_result("one", 1, states.SUCCESS)

    assert app.AsyncResult("one").get(timeout=20, interval=0.05, on_interval=later) == 1
    assert calls
