"""A task is sent if and only if the transaction it was written in is committed."""

from __future__ import annotations

import gc
import logging
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from celery import chain, chord, group
from flask import Flask
from kombu.exceptions import OperationalError
from sqlalchemy import event
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from flask_celeriac import Celeriac, CeleriacError, on_commit, operations
from flask_celeriac.errors import OutboxError, UnserializableArgumentError
from flask_celeriac.outbox import transactions
from flask_celeriac.outbox.courier import courier
from flask_celeriac.tables import outbox, outbox_metadata
from tests.services.conftest import working

from .conftest import Shop, opened


def test_a_commit_sends_and_a_rollback_does_not(shop: Shop) -> None:
    kept = shop.add.delay_on_commit(1, 2)
    assert shop.rows() == []
    assert shop.messages() == []
    shop.session.commit()
    dropped = shop.add.delay_on_commit(3, 4)
    shop.session.rollback()
    shop.add.delay_on_commit(5, 6)
    shop.session.remove()
    assert kept.id != dropped.id
    assert shop.sent() == [kept.id]
    assert shop.rows() == []


def test_savepoints_are_followed_to_the_outermost_transaction(shop: Shop) -> None:
    outer = shop.add.delay_on_commit(0, 0)
    with shop.session.begin_nested():
        released = shop.add.delay_on_commit(1, 1)
    inner = shop.session.begin_nested()
    shop.add.delay_on_commit(2, 2)
    with shop.session.begin_nested():
        shop.add.delay_on_commit(3, 3)
    inner.rollback()
    assert courier.wait(30)
    assert shop.messages() == []
    shop.session.commit()
    assert shop.sent() == [outer.id, released.id]


def test_sessions_at_the_address_of_one_that_is_gone_are_listened_to() -> None:
    classes = []  # which live on for a while, and with them what is known of their listeners
    for _ in range(300):
        session = scoped_session(sessionmaker())
        transactions.watch(session)
        classes.append(session.session_factory.class_)
        del session
    assert all(made().dispatch.after_commit for made in classes)


def test_a_savepoint_that_comes_first_is_rolled_back_with_its_transaction(shop: Shop) -> None:
    with shop.session.begin_nested():
        shop.add.delay_on_commit(1, 1)
    shop.session.rollback()
    assert shop.sent() == []
    assert shop.rows() == []


def test_the_standard_librarys_driver_would_let_it_through(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/app.db")
    outbox_metadata.create_all(engine)
    row = {"message": "{}", "created": 0, "due": 0}
    factories = {"theirs": sessionmaker(engine), "ours": sessionmaker(engine)}
    Celeriac(Flask("shop", instance_path=str(tmp_path)), session=factories["ours"])
    for name, factory in factories.items():
        with factory() as session:
            with session.begin_nested():
                session.execute(sa.insert(outbox).values(task=name, **row))
            session.rollback()
    with engine.connect() as connection:
        leaked = connection.execute(sa.select(outbox.c.task)).scalars().all()
    engine.dispose()
    assert leaked == ["theirs"]


def test_a_commit_costs_one_statement_of_its_own(shop: Shop) -> None:
    shop.add.delay_on_commit(0, 0)
    shop.session.commit()
    assert courier.wait(30)
    statements: list[str] = []

    def note(*given: Any) -> None:
        statements.append(given[2])

    event.listen(shop.engine, "before_cursor_execute", note)
    shop.add.delay_on_commit(1, 1)
    event.remove(shop.engine, "before_cursor_execute", note)
    assert [statement.split("celeriac_outbox")[0] for statement in statements] == ["INSERT INTO "]


def test_results_come_back(pair: tuple[str, str | None], tmp_path: Path) -> None:
    url, broker = pair
    config: dict[str, Any] = {}
    if broker:
        records = url if "sqlite" not in url else None
        config = {"CELERY": {"broker_url": broker}, "CELERIAC_DATABASE": records}
    with opened(tmp_path, url, **config) as shop, working(shop.app):
        one = shop.add.apply_async_on_commit((1, 2), countdown=0.01, priority=3)
        several = shop.celeriac.delay_on_commit(group(shop.add.s(n, 1) for n in range(3)))
        steps = shop.celeriac.delay_on_commit(chain(shop.add.s(2), shop.add.s(3)), 1)
        nested = shop.add.s(0, 0) | group([shop.add.s(2), shop.add.s(3)])
        flat = chord([shop.add.s(1, 1), shop.add.s(2, 2)], shop.total.s())
        whole = shop.celeriac.delay_on_commit(flat)
        deep = shop.celeriac.delay_on_commit(chord([nested, shop.add.s(1, 1)], shop.count.s()))
        shop.session.commit()
        assert one.get(timeout=30) == 3
        assert several.get(timeout=30) == [1, 2, 3]
        assert steps.get(timeout=30) == 6
        assert whole.get(timeout=30) == 6
        assert deep.get(timeout=30) == [[2, 3], 2]
        assert shop.rows() == []


def test_a_chord_leaves_nothing_behind_that_was_not_committed(small_shop: Shop) -> None:
    shop = small_shop
    shop.celeriac.delay_on_commit(chord([shop.add.s(1, 1), shop.add.s(2, 2)], shop.total.s()))
    shop.session.rollback()
    with shop.celery.backend.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM celeriac_chord").scalar() == 0


def test_bad_arguments_are_refused_at_once(small_shop: Shop) -> None:
    with pytest.raises(UnserializableArgumentError):
        small_shop.add.delay_on_commit(object(), 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        small_shop.add.delay_on_commit(1)  # type: ignore[call-arg]
    good = small_shop.add.s(1, 1)
    with pytest.raises(UnserializableArgumentError):
        small_shop.celeriac.delay_on_commit(group(good, small_shop.add.s(object(), 1)))
    with pytest.raises(OutboxError, match="connection"):
        small_shop.add.apply_async_on_commit((1, 1), connection=small_shop.celery.connection())
    small_shop.session.commit()
    assert small_shop.sent() == []


def test_a_missing_table_is_told_with_the_remedy(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with opened(tmp_path, f"sqlite:///{tmp_path}/app.db", table=False) as shop:
        with pytest.raises(OutboxError, match="flask celery db upgrade"):
            shop.add.delay_on_commit(1, 1)
        shop.session.execute(sa.select(1))  # the transaction goes on
        outbox_metadata.create_all(shop.engine)
        shop.add.delay_on_commit(1, 1)


@contextmanager
def _plain(tmp_path: Path, session: Any) -> Iterator[Any]:
    app = Flask("shop", instance_path=str(tmp_path / "plain"))
    celeriac = Celeriac(app, session=session)

    @celeriac.task(name="shop.plain")
    def plain(number: int) -> int:
        return number

    yield plain


class AsyncSession:
    """What an asynchronous session looks like."""

    sync_session = None


@pytest.mark.parametrize(
    ("session", "words"),
    [
        (None, "Celeriac\\(session"),
        (sessionmaker(), "session=session"),
        (AsyncSession(), "synchronous"),
        ("db.session", "no SQLAlchemy session"),
        (Session(), "which of its databases"),
    ],
)
def test_what_is_no_session_is_refused_in_words(tmp_path: Path, session: Any, words: str) -> None:
    with _plain(tmp_path, session) as task, pytest.raises(OutboxError, match=words):
        task.delay_on_commit(1)
    assert issubclass(OutboxError, CeleriacError)


@pytest.mark.parametrize("kind", ["scoped", "session", "factory"])
def test_every_kind_of_session_will_do(tmp_path: Path, kind: str) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/app.db")
    outbox_metadata.create_all(engine)
    factory = sessionmaker(engine)
    given: Any = {"scoped": scoped_session(factory), "session": Session(engine)}.get(kind, factory)
    with _plain(tmp_path, given) as task:
        celery = task.app
        if kind == "factory":
            with factory() as session:
                result = task.apply_async_on_commit((1,), session=session)
                session.commit()
        else:
            result = task.delay_on_commit(1)
            given.commit()
        assert courier.wait(30)
        assert celery.backend.task_result_exists(result.id)
        assert celery.on_commit.find_relay() is not None
    engine.dispose()


def test_a_session_inside_of_somebodys_transaction_sends_nothing(shop: Shop) -> None:
    """As tests have it that roll everything back."""
    with shop.engine.connect() as connection, connection.begin() as whole:
        if shop.engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")  # else the savepoint would be the transaction
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            shop.add.apply_async_on_commit((1, 1), session=session)
            session.commit()
        assert shop.sent() == []
        whole.rollback()
    assert shop.rows() == []


def test_a_database_in_memory_sends_in_the_commit_itself(tmp_path: Path) -> None:
    with opened(tmp_path, "sqlite://") as shop:
        result = shop.add.delay_on_commit(1, 2)
        shop.session.commit()
        assert [message.headers["id"] for message in shop.messages()] == [result.id]
        assert shop.rows() == []


def test_a_database_in_memory_sends_after_however_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else can have taken it meanwhile."""
    monkeypatch.setattr(on_commit, "LEASE", 0.0)
    with opened(tmp_path, "sqlite://") as shop:
        result = shop.add.delay_on_commit(1, 2)
        shop.session.commit()
        assert [message.headers["id"] for message in shop.messages()] == [result.id]


def test_eager_tasks_run_at_once(tmp_path: Path) -> None:
    with opened(tmp_path, "sqlite://", CELERY={"task_always_eager": True}) as shop:
        assert shop.add.delay_on_commit(1, 2).get() == 3


def test_how_many_were_dropped_is_in_the_log(
    small_shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "flask_celeriac.on_commit")
    small_shop.celeriac.delay_on_commit(group(small_shop.add.s(n, 1) for n in range(3)))
    small_shop.session.rollback()
    small_shop.add.delay_on_commit(1, 1)
    small_shop.session.remove()
    assert courier.wait(30)
    said = [record.getMessage().partition(" ")[0] for record in caplog.records]
    assert said == ["3", "1"]


def test_messages_say_where_they_come_from_and_what_they_were(small_shop: Shop) -> None:
    small_shop.add.delay(1, 2)
    small_shop.add.apply_async_on_commit((1, 2), priority=5, expires=60, headers={"mine": "x"})
    small_shop.session.commit()
    assert courier.wait(30)
    kept, direct = small_shop.messages()
    assert kept.headers["celeriac_outbox"] == 1
    assert kept.headers["mine"] == "x"
    assert kept.properties["priority"] == 5
    assert 0 < int(kept.properties["expiration"]) <= 60_000
    for key in ("task", "argsrepr", "lang", "retries"):
        assert kept.headers[key] == direct.headers[key]
    assert kept.body == direct.body
    assert (kept.content_type, kept.content_encoding) == ("application/json", "utf-8")


def test_compressed_and_binary_messages_arrive(small_shop: Shop) -> None:
    small_shop.add.apply_async_on_commit((1, 2), compression="gzip")
    small_shop.session.commit()
    with working(small_shop.app):
        small_shop.add.delay(3, 4).get(timeout=30)
    assert small_shop.ran == [(1, 2), (3, 4)]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_leaves_alone_what_its_parent_is_to_send(small_shop: Shop) -> None:
    shop = small_shop
    shop.add.delay_on_commit(0, 0)
    shop.session.commit()
    assert len(shop.sent()) == 1
    hold = threading.Event()
    courier.do(hold.wait)
    try:
        kept = shop.add.delay_on_commit(1, 1)
        shop.session.commit()
        pid = os.fork()
        if pid == 0:
            with closing_the_process():
                shop.engine.dispose(close=False)
                shop.add.apply_async_on_commit((2, 2), task_id="child")
                shop.session.commit()
                assert courier.wait(30)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert [message.headers["id"] for message in shop.messages()] == ["child"]
        assert [row.task_id for row in shop.rows()] == [kept.id]
    finally:
        hold.set()
    assert shop.sent() == [kept.id]
    assert shop.rows() == []


@contextmanager
def closing_the_process() -> Iterator[None]:
    """End this process with the block, in code 1 where it fails."""
    code = 1
    try:
        yield
        code = 0
    finally:
        os._exit(code)


def test_an_application_that_is_gone_is_not_kept(tmp_path: Path) -> None:
    with opened(tmp_path, f"sqlite:///{tmp_path}/app.db") as shop:
        found = weakref.ref(shop.celery.on_commit)
        shop.add.delay_on_commit(1, 2)
        shop.session.commit()
        assert len(shop.sent()) == 1
    del shop
    gc.collect()
    assert found() is None


def test_an_engine_that_is_there_for_one_request_is_not_kept(small_shop: Shop) -> None:
    shop = small_shop
    engines, ids = [], []
    for number in range(5):
        engine = shop.engine.execution_options(schema_translate_map={"tenant": None})
        engines.append(weakref.ref(engine))
        with Session(engine) as session:
            call = {"args": (number, 0), "session": session}
            ids.append(shop.add.apply_async_on_commit(**call).id)
            session.commit()
        del engine, session, call
        assert courier.wait(30)
    assert shop.sent() == ids
    gc.collect()
    assert [engine() for engine in engines] == [None] * 5


def test_why_it_waits_is_told_while_the_broker_is_away(tmp_path: Path) -> None:
    settings = {
        "broker_url": "redis://127.0.0.1:1/0",
        "result_backend": f"celeriac:///{tmp_path}/results.db",
    }
    with opened(tmp_path, f"sqlite:///{tmp_path}/app.db", CELERY=settings) as shop:
        result = shop.add.delay_on_commit(1, 2)
        shop.session.commit()
        assert courier.wait(30)
        (row,) = shop.rows()
        (reason,) = operations.why(shop.celery, result.id)
    assert reason.code == "outbox"
    assert row.error in reason.text


def test_a_broker_that_is_away_is_nobodys_business(
    small_shop: Shop, tmp_path: Path, redis_url: str
) -> None:
    from tests.services.gate import Gate

    url = f"sqlite:///{tmp_path}/other.db"
    settings = {"result_backend": redis_url}
    with Gate(redis_url) as door:
        settings["broker_url"] = settings["result_backend"] = door.url
        with opened(tmp_path / "other", url, CELERY=settings) as shop:
            with pytest.raises(OperationalError):
                shop.add.delay(0, 0)
            door.silent()
            result = shop.add.apply_async_on_commit((1, 2), countdown=1)
            shop.celeriac.delay_on_commit(chord([shop.add.s(1, 1)] * 2, shop.total.s()))
            assert bytes(door.received) == b""
            shop.session.commit()
            assert courier.wait(30)
            (row, *others) = shop.rows()
            assert row.task_id == result.id
            assert "Error" in row.error
            assert row.attempts == 0
            assert len(others) == 2
            door.open()
            assert shop.relay.turn().published == 3
            assert result.id in shop.sent()
