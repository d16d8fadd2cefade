"""The verbs on tasks, queues and workers, with the tasks of a real worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import chain
from flask import Flask

from flask_celeriac import Celeriac, operations
from flask_celeriac.database import engine_for
from flask_celeriac.errors import (
    CountChangedError,
    InvalidRequestError,
    RecordsDisabledError,
    TaskStateError,
    UnknownTaskError,
    UnknownTaskNameError,
)
from flask_celeriac.operations.sources import sources_of
from flask_celeriac.records import description, write_queries
from flask_celeriac.records.task_record import Filter, TaskRecord
from flask_celeriac.worker import lost
from tests.services.conftest import working
from tests.support import pieces, services
from tests.support.processes import wait_for

#: A broker, and the database with the records.
SYSTEMS = [("embedded", "embedded"), ("redis", "postgresql"), ("rabbitmq", "mariadb")]

celeriac = Celeriac()


@celeriac.task(name="ops.late", queue="night")
def late() -> None: ...


@celeriac.task(name="ops.add")
def add(a: int, b: int) -> int:
    return a + b


@celeriac.task(name="ops.quiet", ignore_result=True)
def quiet(password: str) -> None:
    pass


@celeriac.task(name="ops.noted", redact=("card",), ignore_result=True)
def noted(word: str, *, card: str = "", password: str = "") -> None:
    pass


@celeriac.task(name="ops.fail")
def fail(number: int) -> None:
    raise ValueError(f"no {number}")


@celeriac.task(name="ops.strange")
def strange() -> None:
    celeriac.progress(1, 2, "\0 and \ud800")
    # pytest-xdist cannot pass on what Celery logs of half a character.
    raise ValueError("\0")


@celeriac.task(name="ops.again", autoretry_for=(KeyError,), max_retries=1, default_retry_delay=0)
def again() -> None:
    raise KeyError("k")


@celeriac.task(name="ops.limited", rate_limit="1/h")
def limited() -> None:
    """May not begin often."""


#: The worker is a thread of the test's process: its task goes on when the test says so.
go_on = threading.Event()


@celeriac.task(name="ops.held")
def held() -> None:
    assert go_on.wait(60)


@pytest.fixture(scope="module", params=SYSTEMS, ids=lambda system: system[0])
def app(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flask]:
    broker, database = request.param
    folder = tmp_path_factory.mktemp("operations")
    app = Flask("operations", instance_path=str(folder))
    app.config["CELERY"] = {"task_default_queue": "ops"}
    if broker == "embedded":
        yield from ready(app)
        return
    piece = pieces.redis_database() if broker == "redis" else pieces.rabbitmq_vhost()
    with piece as broker_url, sql_database(database) as url:
        app.config["CELERIAC_DATABASE"] = url
        app.config["CELERY"]["broker_url"] = broker_url
        yield from ready(app)
        engine_for(url).dispose()


@contextmanager
def sql_database(name: str) -> Iterator[str]:
    service, drop, driver = {
        "postgresql": (
            services.POSTGRES,
            "DROP DATABASE {} WITH (FORCE)",
            "postgresql+psycopg",
        ),
        "mariadb": (services.MARIADB, "DROP DATABASE {}", "mysql+pymysql"),
    }[name]
    with pieces.sql_database(service, drop=drop) as url:
        yield f"{driver}:{url.partition(':')[2]}"


def ready(app: Flask) -> Iterator[Flask]:
    celeriac.init_app(app)
    with app.app_context():
        yield app
    app.extensions["celery"].close()


@pytest.fixture
def celery(app: Flask) -> Iterator[Any]:
    """With nothing recorded and nothing queued before."""
    celery = app.extensions["celery"]
    yield celery
    celery.control.purge()
    for task in everything(celery):
        if not task.ended:
            operations.revoke(celery, task.id, terminate=True)
        operations.discard(celery, task.id)


def everything(celery: Any, **chosen: Any) -> list[TaskRecord]:
    found: list[TaskRecord] = []
    cursor = None
    while True:
        page = operations.list_tasks(celery, Filter(**chosen), cursor=cursor, limit=2)
        found += page.tasks
        cursor = page.next
        if cursor is None:
            return found


def in_state(celery: Any, task_id: str, state: str) -> TaskRecord:
    def look() -> TaskRecord | None:
        try:
            task = operations.show(celery, task_id)
        except UnknownTaskError:  # a member of a chain is not sent yet
            return None
        return task if task.state == state else None

    return wait_for(look, f"{task_id} to be {state}")


def test_the_last_part_of_a_list_says_so(app: Flask, celery: Any) -> None:
    ids = [add.delay(n, n).id for n in range(4)]
    first = operations.list_tasks(celery, limit=2)
    assert [task.id for task in first.tasks] == ids[:1:-1]
    last = operations.list_tasks(celery, limit=2, cursor=first.next)
    assert [task.id for task in last.tasks] == ids[1::-1]
    assert (last.next, last.searched_all) == (None, True)


def test_a_task_is_recorded_from_its_sending_to_its_end(app: Flask, celery: Any) -> None:
    before = time.time()
    task_id = add.delay(23, 42).id
    queued = operations.show(celery, task_id)
    assert (queued.state, queued.name, queued.queue) == ("queued", "ops.add", "ops")
    assert (queued.args, queued.kwargs, queued.attempts) == ([23, 42], {}, 0)
    assert before - 1 < queued.created < time.time() + 1
    with working(app):
        ended = in_state(celery, task_id, "succeeded")
    assert (ended.result, ended.attempts, ended.args, ended.queue) == (65, 1, [23, 42], "ops")
    assert ended.created == pytest.approx(queued.created)
    assert ended.worker
    assert ended.wait is not None
    assert ended.run is not None


def test_where_a_task_comes_from_is_recorded(app: Flask, celery: Any) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"X-Request-ID": "req-1", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    with app.test_request_context(headers=headers):
        task_id = add.apply_async((1, 1), labels=["nightly", "\u00fcber"]).id
        add.delay(2, 2)
    queued = operations.show(celery, task_id)
    with working(app):
        ended = in_state(celery, task_id, "succeeded")
    for task in (queued, ended):
        assert (task.request_id, task.trace_id) == ("req-1", trace)
        assert task.labels == ("nightly", "\u00fcber")
    assert [task.id for task in everything(celery, label="\u00fcber")] == [task_id]


def test_what_nobody_wants_the_result_of_is_recorded_too(app: Flask, celery: Any) -> None:
    task_id = quiet.delay("hunter2").id
    assert operations.show(celery, task_id).args == ["**"]
    with working(app):
        ended = in_state(celery, task_id, "succeeded")
    assert (ended.args, ended.result) == (["**"], None)
    assert celery.AsyncResult(task_id).state == "PENDING"


def test_a_failure_and_its_retry(app: Flask, celery: Any) -> None:
    task_id, other = fail.delay(9).id, fail.delay(10).id
    with working(app):
        failed = in_state(celery, task_id, "failed")
        assert (failed.error_type, failed.error_message) == ("ValueError", "no 9")
        assert "ValueError: no 9" in str(failed.traceback)
        same = in_state(celery, other, "failed")
        assert same.error_fingerprint == failed.error_fingerprint
        found = everything(celery, error=failed.error_fingerprint)
        assert {task.id for task in found} == {task_id, other}
        repeated = operations.retry(celery, task_id)
        edited = operations.retry(celery, task_id, args=[1])
        assert in_state(celery, repeated, "failed").args == [9]
        again = in_state(celery, edited, "failed")
    assert (again.args, again.retry_of, again.error_message) == ([1], task_id, "no 1")
    assert operations.show(celery, task_id).state == "failed"


def test_words_that_no_database_keeps_are_written_in_others(app: Flask, celery: Any) -> None:
    task_id = strange.delay().id
    with working(app):
        failed = in_state(celery, task_id, "failed")
    assert failed.progress_message == r"\x00 and \ud800"
    assert failed.error_message == r"\x00"
    assert r"ValueError: \x00" in str(failed.traceback)
    assert description.storable("\ud800 \u00fc") == "\\ud800 \u00fc"


def test_attempts_have_their_own_history(app: Flask, celery: Any) -> None:
    task_id = again.delay().id
    with working(app):
        failed = in_state(celery, task_id, "failed")
    assert failed.attempts == 2
    (first,) = operations.attempts(celery, task_id)
    assert (first.number, first.state, first.error_type) == (1, "retrying", "KeyError")


def test_attempts_that_were_cut_off_are_among_them(app: Flask, celery: Any) -> None:
    task_id = again.apply_async(headers={"celeriac_crashes": 1}).id
    with working(app):
        failed = in_state(celery, task_id, "failed")
    history = [(each.number, each.state) for each in operations.attempts(celery, task_id)]
    if celery.recorder.is_needed:  # its record would say that a worker was at it
        assert (failed.attempts, history) == (2, [(1, "retrying")])
        return
    assert failed.attempts == 3
    assert {task.attempts for task in everything(celery)} == {3}
    # What is repeated is another message, which was not cut off.
    assert history == [(1, "lost"), (2, "retrying")]
    assert operations.attempts(celery, task_id)[0].error_message == "Its process died."


#: Brokers that say by themselves that a message comes again.
TELLING = pytest.mark.parametrize(
    "app", [SYSTEMS[0], SYSTEMS[2]], ids=["embedded", "rabbitmq"], indirect=True
)


def test_who_runs_a_task_and_since_when(app: Flask, celery: Any) -> None:
    waits = add.delay(1, 2)
    operations.revoke(celery, waits.id)
    go_on.clear()
    with working(app):
        sent = held.delay()
        running = in_state(celery, sent.id, "running")
        try:
            assert running.worker
            assert running.started is not None
            assert running.started >= running.created
            assert running.finished is None
            assert [task.id for task in everything(celery, worker=running.worker)] == [sent.id]
            chosen = Filter(worker=running.worker, states=("running",))
            assert operations.count(celery, chosen).number == 1
            chosen = Filter(worker="of nobody", states=("running",))
            assert operations.count(celery, chosen).number == 0
            assert everything(celery, worker="of nobody") == []
        finally:
            go_on.set()
        ended = in_state(celery, sent.id, "succeeded")
    # A worker in a test's thread has a name that its pool does not know.
    host = str(ended.worker).rpartition("@")[2]
    assert running.worker.rpartition("@")[2] == host
    assert ended.started == pytest.approx(running.started, abs=1.0)


@TELLING
def test_a_message_that_comes_again_while_a_worker_is_at_it(app: Flask, celery: Any) -> None:
    task_id = add.delay(1, 1).id
    with celery.connection_for_read() as connection, connection.channel() as channel:
        assert channel.basic_get("ops", no_ack=False)
    values = {"task_id": task_id, "state": "running", "worker": "celery@gone", "updated": 1.0}
    with sources_of(celery).engine.begin() as connection:
        assert write_queries.write(connection, values)
    with working(app):
        assert in_state(celery, task_id, "succeeded").attempts == 2
    (cut_off,) = operations.attempts(celery, task_id)
    assert (cut_off.number, cut_off.state, cut_off.worker) == (1, "lost", "celery@gone")


@TELLING
def test_a_run_that_was_stopped_is_not_lost(app: Flask, celery: Any) -> None:
    task_id = add.delay(1, 1).id
    with celery.connection_for_read() as connection, connection.channel() as channel:
        assert channel.basic_get("ops", no_ack=False)
    values = {"task_id": task_id, "state": "running", "worker": "celery@left", "updated": 1.0}
    with sources_of(celery).engine.begin() as connection:
        assert write_queries.write(connection, values)
    if celery.recorder.is_needed:
        celery.recorder.given_back(task_id)
    lost.stopped(celery, task_id)
    assert operations.show(celery, task_id).state == "queued"
    with working(app):
        in_state(celery, task_id, "succeeded")
    assert operations.attempts(celery, task_id) == []


def test_a_workflow(app: Flask, celery: Any) -> None:
    result = chain(add.s(1, 2), add.s(3))()
    with working(app):
        last = in_state(celery, result.id, "succeeded")
    assert (last.root_id, last.parent_id) == (result.parent.id, result.parent.id)
    members = operations.workflow(celery, result.parent.id)
    assert [task.id for task in members] == [result.id]


def test_text_is_found_as_it_was_given(app: Flask, celery: Any) -> None:
    """Although it is kept as it travels, in JSON."""
    words = ["M\u00fcller", 'say "so"', "50%_\\", "\U0001f600"]
    ids = [noted.delay(word).id for word in words]

    def found() -> list[list[str]]:
        asked = [*words, "m\u00dcLLER"]
        return [[task.id for task in everything(celery, text=text)] for text in asked]

    expected = [[ids[0]], [ids[1]], [ids[2]], [ids[3]], [ids[0]]]
    assert found() == expected
    with working(app):
        for task_id in ids:
            in_state(celery, task_id, "succeeded")
    assert found() == expected
    assert everything(celery, text="so_") == []


def test_a_text_that_is_not_shown_is_not_found(
    app: Flask, celery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor can it be guessed by where a page ends, or by what a count says."""
    monkeypatch.setattr("flask_celeriac.records.task_queries.BATCH", 2)
    words = [f"postgres://me:hunter2@there/{number}" for number in range(5)]
    ids = [noted.delay(word, card="hunter3", password="hunter4").id for word in words]

    def look() -> None:
        for text in ("hunter2", "hunter3", "hunter4", "unter"):
            chosen = Filter(text=text)
            page = operations.list_tasks(celery, chosen, limit=1)
            assert (page.tasks, page.next, page.searched_all) == ([], None, True)
            counted = operations.count(celery, chosen)
            assert counted == operations.count_all(celery, chosen) == operations.Count(0, False)
            with pytest.raises(CountChangedError, match="0 tasks, not 5"):
                operations.apply_to_many(celery, "discard", chosen, expected=5)
        for text, found in (("POSTGRES://", ids), ("there/3", ids[3:4]), ("card", ids)):
            assert [task.id for task in everything(celery, text=text)] == [*reversed(found)]
            assert operations.count(celery, Filter(text=text)).number == len(found)

    look()
    with working(app):
        for task_id in ids:
            in_state(celery, task_id, "succeeded")
    look()
    chosen = Filter(text="@there/")
    assert operations.apply_to_many(celery, "discard", chosen, expected=5).done == 5


def test_long_arguments_are_not_kept(celery: Any) -> None:
    task_id = quiet.delay("x" * 70_000).id
    assert operations.show(celery, task_id).args is None
    operations.revoke(celery, task_id)
    with pytest.raises(TaskStateError, match="its arguments are not kept"):
        operations.retry(celery, task_id)


def test_lists_and_counts(celery: Any) -> None:
    ids = [add.delay(number, 0).id for number in range(5)]
    far = add.apply_async((9, 9), countdown=1000).id
    assert [task.id for task in everything(celery)] == [far, *reversed(ids)]
    assert [task.id for task in everything(celery, states=("scheduled",))] == [far]
    assert len(everything(celery, name="ops.add", queue="ops")) == 6
    assert everything(celery, name="ops.fail") == []
    assert [task.id for task in everything(celery, text="[9, 9]")] == [far]
    assert operations.count(celery, Filter(states=("queued",))).number == 5
    assert str(operations.count(celery, cap=3)) == "3+"
    with pytest.raises(InvalidRequestError, match="cursor"):
        operations.list_tasks(celery, cursor="nonsense")
    with pytest.raises(InvalidRequestError, match="there is no state 'done'"):
        operations.list_tasks(celery, Filter(states=("done",)))


def test_a_revoked_task_does_not_run(app: Flask, celery: Any) -> None:
    task_id, other = add.delay(1, 1).id, add.delay(2, 2).id
    operations.revoke(celery, task_id)
    revoked = operations.show(celery, task_id)
    assert (revoked.state, revoked.name, revoked.args) == ("revoked", "ops.add", [1, 1])
    with pytest.raises(TaskStateError, match="is revoked already"):
        operations.revoke(celery, task_id)
    (ended,) = operations.why(celery, task_id)
    assert ended.text == "It does not wait: it is revoked."
    if celery.conf.broker_url.startswith("celeriac"):  # elsewhere by workers that are there
        with working(app):
            in_state(celery, other, "succeeded")
        assert operations.show(celery, task_id).state == "revoked"


def test_many_at_a_time(celery: Any) -> None:
    for number in range(3):
        add.delay(number, 0)
    chosen = Filter(name="ops.add")
    with pytest.raises(CountChangedError, match="3 tasks, not 2"):
        operations.apply_to_many(celery, "revoke", chosen, expected=2)
    assert operations.apply_to_many(celery, "revoke", chosen, expected=3).done == 3
    assert {task.state for task in everything(celery)} == {"revoked"}
    assert operations.apply_to_many(celery, "discard", chosen, expected=3).done == 3
    assert everything(celery) == []


def test_many_that_a_count_does_not_find(celery: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        add.delay(number, 0)
    for module, name in (("broker", "SCAN"), ("records", "SCAN"), ("records", "COUNT_SCAN")):
        monkeypatch.setattr(f"flask_celeriac.{module}.task_queries.{name}", 3)
    chosen = Filter(name="ops.add", text="[")
    counted = operations.count(celery, chosen)
    assert (counted.capped, str(counted)) == (True, f"{counted.number}+")
    assert counted.number < 7
    everywhere = operations.count_all(celery, chosen)
    assert (everywhere.number, everywhere.capped) == (7, False)
    with pytest.raises(CountChangedError, match="7 tasks, not"):
        operations.apply_to_many(celery, "revoke", chosen, expected=counted.number)
    assert operations.apply_to_many(celery, "revoke", chosen, expected=7).done == 7


def test_what_cannot_be_done(celery: Any) -> None:
    task_id = add.delay(1, 1).id
    for verb in (operations.retry, operations.discard):
        with pytest.raises(TaskStateError, match="queued"):
            verb(celery, task_id)
    for verb in (operations.show, operations.retry, operations.revoke, operations.discard):
        with pytest.raises(UnknownTaskError, match="no task 'none'"):
            verb(celery, "none")
    with pytest.raises(UnknownTaskNameError, match="did you mean"):
        operations.start(celery, "ops.ad")


def test_a_paused_queue(app: Flask, celery: Any) -> None:
    assert operations.pause(celery, "ops", actor="ada")
    assert not operations.pause(celery, "ops")
    task_id = operations.start(celery, "ops.add", [1, 1])
    with working(app):
        (worker,) = operations.list_workers(celery, timeout=0.5)
        assert (worker.queues, worker.pool) == ((), "solo")
        assert "paused" in [reason.code for reason in operations.why(celery, task_id)]
        (queue,) = [q for q in operations.list_queues(celery) if q.name == "ops"]
        assert queue.ready == 1
        assert queue.paused_since is not None
        assert operations.resume(celery, "ops")
        in_state(celery, task_id, "succeeded")
    assert not operations.resume(celery, "ops")


def test_an_empty_queue_has_no_tasks(app: Flask, celery: Any) -> None:
    with working(app):
        add.delay(1, 1).get(timeout=60)
    (queue,) = [q for q in operations.list_queues(celery) if q.name == "ops"]
    assert (queue.ready, queue.oldest) == (0, None)


def test_a_queue_that_a_task_names_is_listed(app: Flask, celery: Any) -> None:
    queues = {queue.name: queue for queue in operations.list_queues(celery)}
    assert queues["night"].ready in (0, None)  # which RabbitMQ does not know yet


def test_many_who_pause_a_queue_at_once(celery: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        paused = list(pool.map(lambda _: operations.pause(celery, "crowd"), range(8)))
    assert paused.count(True) == 1
    assert operations.resume(celery, "crowd")


def test_why_a_task_waits(celery: Any) -> None:
    def codes(task_id: str) -> list[str]:
        return [reason.code for reason in operations.why(celery, task_id)]

    first = add.delay(1, 1).id
    assert codes(first) == ["no_worker"]
    far = add.apply_async((1, 1), countdown=1000).id
    assert codes(far) == ["eta", "no_worker"]
    if celery.conf.broker_url.startswith("celeriac"):
        texts = []
        for _ in range(2):
            _, ahead = operations.why(celery, add.delay(2, 2).id)
            assert ahead.code == "ahead"
            texts.append(ahead.text)
        assert texts[0].startswith("1 task is ahead of it")
        assert texts[1].startswith("2 tasks are ahead of it")


def test_why_a_task_waits_while_a_worker_is_there(app: Flask, celery: Any) -> None:
    def codes(task_id: str) -> set[str]:
        return {reason.code for reason in operations.why(celery, task_id)}

    go_on.clear()
    one_at_a_time = {"concurrency": 1, "prefetch_multiplier": 1}
    with working(app, "threads", **one_at_a_time):
        first = held.delay().id
        in_state(celery, first, "running")
        assert codes(first) == {"running"}
        second, third = add.delay(1, 1).id, limited.delay().id
        stranger = celery.send_task("ops.nobody", queue="ops").id
        elsewhere = add.apply_async((1, 1), queue="nowhere").id
        assert codes(second) == {"next"}
        assert "rate_limit" in codes(third)
        assert "unknown_name" in codes(stranger)
        assert codes(elsewhere) == {"no_worker"}
        for task_id in (third, stranger, elsewhere):
            operations.revoke(celery, task_id)
        go_on.set()
        in_state(celery, second, "succeeded")
    assert codes(second) == {"ended"}
    with celery.connection_for_write() as connection:
        connection.default_channel.queue_purge("nowhere")


def test_why_a_task_waits_for_the_rate_of_a_worker_that_has_it(app: Flask, celery: Any) -> None:
    with working(app, "threads", concurrency=1):
        first, second = limited.delay().id, limited.delay().id
        in_state(celery, first, "succeeded")
        if celery.conf.broker_url.startswith("celeriac"):  # which only knows that it was taken
            in_state(celery, second, "running")
        codes = {reason.code for reason in operations.why(celery, second)}
        assert "rate_limit" in codes
        assert "running" not in codes
        operations.revoke(celery, second)


def test_many_are_sent_again(app: Flask, celery: Any) -> None:
    sent = {fail.delay(number).id for number in range(3)}
    began = time.time()
    with working(app):
        for task_id in sent:
            failed = in_state(celery, task_id, "failed")
        assert {task.id for task in everything(celery, worker=failed.worker)} == sent
        assert everything(celery, created_after=began + 60) == []
        assert {task.id for task in everything(celery, created_before=began + 60)} == sent
        chosen = Filter(error=failed.error_fingerprint, states=("failed",))
        assert operations.count(celery, chosen).number == 3
        outcome = operations.apply_to_many(celery, "retry", chosen, expected=3)
        assert (outcome.done, outcome.refused, set(outcome.made)) == (3, {}, sent)
        for old, new in outcome.made.items():
            assert in_state(celery, new, "failed").retry_of == old
    assert operations.count(celery, chosen).number == 6


def test_waiting_for_the_end(app: Flask, celery: Any) -> None:
    task_id = add.delay(1, 1).id
    assert operations.wait(celery, task_id, 0.01).state == "queued"
    with working(app):
        assert operations.wait(celery, task_id, 30).result == 2
    assert operations.wait(celery, task_id, 30).result == 2
    with pytest.raises(TaskStateError, match="has succeeded already"):
        operations.revoke(celery, task_id)


def test_waiting_for_what_nobody_wants_the_result_of(app: Flask, celery: Any) -> None:
    with working(app):
        # One that waited for a result would run into the test's time limit.
        assert operations.wait(celery, quiet.delay("x").id, 600).state == "succeeded"


def test_old_records_are_pruned(app: Flask, celery: Any) -> None:
    done, failed = add.delay(1, 1).id, fail.delay(1).id
    with working(app):
        in_state(celery, done, "succeeded")
        in_state(celery, failed, "failed")
    assert operations.prune(celery) == 0
    assert operations.prune(celery, keep_succeeded=0) == 1
    assert [task.id for task in everything(celery)] == [failed]


def test_redis_alone_records_nothing(redis_url: str, tmp_path: Path) -> None:
    app = Flask("alone", instance_path=str(tmp_path))
    app.config["CELERY_BROKER_URL"] = redis_url
    Celeriac(app)
    verbs: list[Callable[[Any], object]] = [operations.list_tasks, operations.list_queues]
    for verb in verbs:
        with pytest.raises(RecordsDisabledError, match="CELERIAC_DATABASE"):
            verb(app.extensions["celery"])
