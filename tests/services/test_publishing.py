"""The short way to publish says what Celery's says, and steps aside when somebody has a say."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import celery.signals
import pytest
from celery import Celery
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_celeriac import Celeriac, publishing, sqlite
from flask_celeriac.errors import UnserializableArgumentError

from .conftest import MakeApp, working

Send = Callable[..., Any]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3)
    ),
    max_leaves=8,
)


class Shop:
    """An application with one task, its queue looked at in the file."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.celeriac = Celeriac()
        self.ran: list[Any] = []

        @self.celeriac.task(typing=False)
        def add(*args: Any, **kwargs: Any) -> Any:
            return [args, kwargs]

        self.add = add
        self.celeriac.init_app(app)
        self.celery: Celery[Any] = app.extensions["celery"]
        self.file = sqlite.file_at(sqlite.path_of(self.celery.conf.broker_url))

    def take(self) -> list[dict[str, Any]]:
        """Take all messages out of the file, in order."""
        with self.file.transaction() as db:
            rows = db.execute(
                "DELETE FROM message RETURNING id, queue, priority, task_id, task, due, expires,"
                " envelope, body"
            ).fetchall()
        names = ("row", "queue", "priority", "id", "task", "due", "expires", "envelope", "body")
        return [dict(zip(names, row, strict=True)) for row in sorted(rows)]


@pytest.fixture
def shop(make_app: MakeApp) -> Iterator[Shop]:
    shop = Shop(make_app())
    with shop.app.app_context():
        shop.add.delay()
        shop.take()
        yield shop


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what differs from one call to the next."""
    text = row["envelope"].replace(row["id"], "ID")
    return {**row, "row": None, "id": None, "envelope": list(json.loads(text).items())}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(args=st.lists(JSON, max_size=3), kwargs=st.dictionaries(st.text(), JSON, max_size=3))
def test_a_message_is_as_celery_makes_it(
    shop: Shop, args: list[Any], kwargs: dict[str, Any]
) -> None:
    for given_args in (args, tuple(args)):
        quick = shop.add.apply_async(given_args, kwargs)
        slow = shop.add.apply_async(given_args, kwargs, retry=True)  # an option: Celery's way
        ours, theirs = shop.take()
        assert (ours["id"], theirs["id"]) == (quick.id, slow.id)
        assert comparable(ours) == comparable(theirs)
        assert (type(quick), quick.ignored, quick.parent) == (type(slow), slow.ignored, None)


def test_an_id_may_be_given_as_a_uuid(shop: Shop) -> None:
    given = uuid.uuid4()
    sent = shop.add.apply_async(task_id=given)
    assert sent.id == str(given)
    assert [row["id"] for row in shop.take()] == [str(given)]


def test_nothing_given_is_nothing_passed(shop: Shop) -> None:
    shop.add.apply_async()
    shop.add.apply_async(None, None)
    assert [json.loads(row["body"])[:2] for row in shop.take()] == [[[], {}]] * 2


def test_one_insert_and_no_other_statement(shop: Shop) -> None:
    statements: list[str] = []
    with shop.file.connection() as db:

        def note(_: object, sql: str, __: object) -> bool:
            statements.append(sql.split(maxsplit=1)[0])
            return True

        db.exec_trace = note
    try:
        shop.add.delay(1, 2)
        shop.add.delay_many((i, i) for i in range(1000))
    finally:
        with shop.file.connection() as db:
            db.exec_trace = None
    once = ["INSERT"]
    batch = ["BEGIN", *["INSERT"] * 500, "COMMIT"]
    assert [word for word in statements if word != "PRAGMA"] == once + batch + batch


@pytest.mark.parametrize("results", [None, "sqlite"])
def test_the_second_call_need_not_be_made_anew(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: str | None
) -> None:
    url = {"CELERIAC_DATABASE": f"sqlite:///{tmp_path}/results.db"} if results else {}
    shop = Shop(make_app(**url))
    with shop.app.app_context():
        shop.add.delay(1)

        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise AssertionError("a plain call goes Celery's way")

        monkeypatch.setattr(shop.celery, "send_task", refuse)
        shop.add.delay(2)
        assert [json.loads(row["body"])[0] for row in shop.take()] == [[1], [2]]


def test_a_receiver_of_the_publishing_signals_is_heard(shop: Shop) -> None:
    heard = []

    def before(headers: dict[str, Any], **_: Any) -> None:
        headers["color"] = "red"
        heard.append(headers["id"])

    celery.signals.before_task_publish.connect(before)
    try:
        result = shop.add.delay(1)
        shop.add.delay_many([(2,)])
    finally:
        celery.signals.before_task_publish.disconnect(before)
    rows = shop.take()
    assert heard == [result.id, rows[1]["id"]]
    assert [json.loads(row["envelope"])["headers"]["color"] for row in rows] == ["red"] * 2
    shop.add.delay(1)
    assert "color" not in shop.take()[0]["envelope"]


def test_a_setting_that_changes_is_heeded(shop: Shop) -> None:
    conf = shop.celery.conf
    conf.update(task_routes={shop.add.name: {"queue": "other", "priority": 7}})
    shop.add.delay(1)
    shop.add.delay(1)
    rows = shop.take()
    assert [(row["queue"], row["priority"]) for row in rows] == [("other", 7)] * 2
    conf.task_always_eager = True
    assert shop.add.delay(1).get() == [(1,), {}]
    assert shop.add.delay_many([(1,)]) == 1
    assert shop.take() == []


def test_threads_that_find_at_once_that_something_has_changed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)

    def changed(plan: publishing.Plan, task: Any) -> bool:
        both.wait(30)
        return False

    monkeypatch.setattr(publishing.Plan, "holds", changed)
    with ThreadPoolExecutor(2) as threads:
        sent = [threads.submit(shop.add.delay, number) for number in range(2)]
        ids = {each.result().id for each in sent}
    assert {row["id"] for row in shop.take()} == ids


def test_a_router_that_looks_at_arguments_is_asked_each_time(make_app: MakeApp) -> None:
    def route(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any) -> Any:
        return {"queue": f"q{args[0]}"}

    shop = Shop(make_app(CELERY={"task_routes": [route]}))
    with shop.app.app_context():
        for i in range(3):
            shop.add.delay(i)
        assert [row["queue"] for row in shop.take()] == ["q0", "q1", "q2"]


def test_the_url_of_each_request_is_carried(shop: Shop) -> None:
    for host in ("a.example", "b.example", "c.example"):
        with shop.app.test_request_context(base_url=f"https://{host}/"):
            shop.add.delay(1)
    shop.add.delay(1)
    roots = [json.loads(row["envelope"])["headers"].get("celeriac_url_root") for row in shop.take()]
    assert roots == ["https://a.example/", "https://b.example/", "https://c.example/", None]


def test_what_a_running_task_sends_names_its_parent(make_app: MakeApp) -> None:
    shop = Shop(make_app())

    @shop.celeriac.task(ignore_result=True)
    def inner() -> None:
        pass

    @shop.celeriac.task
    def outer() -> list[str]:
        return [inner.delay().id, inner.delay().id]

    with shop.app.app_context():
        inner.delay()
        inner.delay()
        sent = outer.delay()
        with working(shop.app):
            ids = sent.get(timeout=30)
        assert [child.id for child in sent.children] == ids


def test_bad_arguments_are_refused_as_ever(make_app: MakeApp) -> None:
    shop = Shop(make_app())

    @shop.celeriac.task
    def pair(x: int, y: int) -> int:
        return x + y

    with shop.app.app_context():
        pair.delay(1, 2)
        with pytest.raises(TypeError, match="missing"):
            pair.delay(1)  # type: ignore[call-arg]
        with pytest.raises(UnserializableArgumentError, match="args\\[1\\]"):
            pair.delay(1, object())  # type: ignore[arg-type]
        assert len(shop.take()) == 1


# --- many at once -------------------------------------------------------------------------------


def test_many_calls_keep_their_order_and_ids(shop: Shop) -> None:
    calls = [(1,), [2, 3], {"x": 4}, ()]
    assert shop.add.delay_many(calls, ids=["a", "b", "c", "d"]) == 4
    rows = shop.take()
    assert [row["id"] for row in rows] == ["a", "b", "c", "d"]
    bodies = [json.loads(row["body"])[:2] for row in rows]
    assert bodies == [[[1], {}], [[2, 3], {}], [[], {"x": 4}], [[], {}]]


def test_a_task_that_expires_does_so_after_its_own_sending(make_app: MakeApp) -> None:
    shop = Shop(make_app())

    @shop.celeriac.task(name="briefly", expires=60)
    def briefly() -> None: ...

    with shop.app.app_context():
        for _ in range(3):
            briefly.delay()
        briefly.delay_many([(), ()])
    moments = [json.loads(message["envelope"])["headers"]["expires"] for message in shop.take()]
    assert len(set(moments)) == 5


def test_whoever_sends_a_task_it_gets_an_id_in_the_order_of_sending(shop: Shop) -> None:
    with shop.app.app_context():
        sent = [
            shop.add.delay(1),  # learned
            shop.add.delay(2),
            shop.add.apply_async((3,), priority=2),
            shop.celery.send_task(shop.add.name, (4,)),
            shop.celery.send_task(shop.add.name, (5,), None, 0.0),
            shop.add.s(6).apply_async(),
        ]
        shop.add.delay_many([(7,), (8,)])
        named = shop.celery.send_task(shop.add.name, (9,), None, None, None, "its own")
    found = [message["id"] for message in shop.take()]
    assert found[:6] == [result.id for result in sent]
    assert found[:-1] == sorted(found[:-1])
    assert {uuid.UUID(each).version for each in found[:-1]} == {7}
    assert found[-1] == named.id == "its own"


def test_calls_are_taken_as_they_come(shop: Shop) -> None:
    seen = []

    def calls() -> Iterator[tuple[int]]:
        for i in range(1200):
            seen.append(shop_size(shop))
            yield (i,)

    assert shop.add.delay_many(calls()) == 1200
    assert (seen[0], seen[499], seen[500], seen[1199]) == (0, 0, 500, 1000)
    assert [json.loads(row["body"])[0] for row in shop.take()] == [[i] for i in range(1200)]


def shop_size(shop: Shop) -> int:
    with shop.file.connection() as db:
        return int(db.execute("SELECT count(*) FROM message").fetchone()[0])


@pytest.mark.parametrize("learned", [True, False])
def test_a_refused_call_takes_its_batch_with_it(make_app: MakeApp, learned: bool) -> None:
    shop = Shop(make_app())
    with shop.app.app_context():
        if learned:
            shop.add.delay()
            shop.take()
        with pytest.raises(UnserializableArgumentError, match=r"args\[0\]"):
            shop.add.delay_many([(1,), (object(),), (2,)])
        assert shop.take() == []
        with pytest.raises(TypeError, match="as a tuple"):
            shop.add.delay_many(["text"])
    with pytest.raises(ValueError, match="only 2 ids, and more calls"):
        shop.add.delay_many([(1, 2)] * 3, ids=["a", "b"])


def test_many_calls_reach_redis(make_app: MakeApp, redis_url: str) -> None:
    app = make_app(CELERY={"broker_url": redis_url})
    celeriac = Celeriac()

    @celeriac.task
    def double(x: int) -> int:
        return 2 * x

    celeriac.init_app(app)
    with app.app_context():
        assert double.delay_many(((i,) for i in range(700)), ids=map(str, range(700))) == 700
        with working(app):
            assert [double.AsyncResult(str(i)).get(timeout=30) for i in (0, 699)] == [0, 1398]
