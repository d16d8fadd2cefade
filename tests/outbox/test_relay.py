"""What was committed and not sent is published by a relay: once, in order, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from celery import chord, group
from kombu import Exchange, Queue
from sqlalchemy import event

from flask_celeriac import database, lost_tasks, operations
from flask_celeriac.outbox import relay
from flask_celeriac.outbox.courier import courier
from flask_celeriac.records import gate_queries
from flask_celeriac.tables import outbox
from flask_celeriac.worker.relay import INTERVAL, LONGEST, RARELY, Rounds
from tests.services.conftest import working
from tests.services.gate import Gate

from .conftest import Shop, opened


def leave_behind(shop: Shop, number: int) -> list[str]:
    """As if a process had died after its commit: the ids of its tasks."""
    signature = group([shop.add.s(each, 0) for each in range(number)])
    result = shop.celeriac.delay_on_commit(signature)
    abandon(shop)
    return [each.id for each in result.results]


def abandon(shop: Shop) -> None:
    """Commit what was written as a process does that dies after it."""
    rows = shop.session.execute(sa.select(outbox)).mappings().all()
    shop.session.rollback()
    with shop.engine.begin() as connection:
        connection.execute(sa.insert(outbox), [{**row, "due": 1} for row in rows])


def spoil(shop: Shop, task_id: str, message: str = "{}") -> None:
    """Make a message of the outbox one that nobody can publish."""
    with shop.engine.begin() as connection:
        connection.execute(
            sa.update(outbox).where(outbox.c.task_id == task_id).values(message=message)
        )


def test_what_is_left_is_published_oldest_first(shop: Shop) -> None:
    ids = leave_behind(shop, 250)
    turns = [shop.relay.turn() for _ in range(4)]
    assert [turn.published for turn in turns] == [100, 100, 50, 0]
    assert shop.sent() == ids
    assert shop.rows() == []


def test_nobody_takes_what_another_is_about_to_send(shop: Shop) -> None:
    leave_behind(shop, 1)
    with shop.engine.begin() as connection:
        connection.execute(sa.update(outbox).values(due=2**40))
    assert shop.relay.turn() == relay.Turn()


def test_two_relays_publish_nothing_twice(shop: Shop) -> None:
    ids = leave_behind(shop, 300)
    relays = [shop.relay, shop.relay]
    begin, published = threading.Barrier(2), Counter[int]()
    wrong: list[BaseException] = []

    def work(number: int) -> None:
        try:
            begin.wait()
            while turn := relays[number].turn(limit=10).published:
                published[number] += turn
        except sa.exc.OperationalError as error:  # SQLite: the other has been at it for long
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert published.total() == len(ids)
    assert Counter(shop.sent()) == Counter(ids)


@pytest.mark.parametrize("number", [1, 3])
def test_what_may_soon_be_anothers_is_left_to_it(
    small_shop: Shop, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    shop = small_shop
    ids = leave_behind(shop, number)
    with monkeypatch.context() as patch:
        patch.setattr(relay, "LEASE", relay.MARGIN / 2)
        turn = shop.relay.turn()
    assert (turn.taken, turn.published, turn.failed) == (number, 0, 0)
    assert shop.relay.turn().published == number
    assert shop.sent() == ids


def test_an_idle_look_is_one_statement(shop: Shop) -> None:
    relaying = shop.relay
    statements: list[str] = []
    event.listen(shop.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    assert relaying.turn() == relay.Turn()
    assert len(statements) == 1


def test_a_worker_relays(pair: tuple[str, str | None], tmp_path: Path) -> None:
    url, broker = pair
    config = {"CELERY": {"broker_url": broker}} if broker else {}
    with opened(tmp_path, url, **config) as shop:
        leave_behind(shop, 3)
        with working(shop.app):
            result = shop.add.delay(9, 9)
            if not broker:
                result.get(timeout=30)
            _until(lambda: not shop.rows() and len(shop.ran) == 4)
        assert sorted(shop.ran) == [(0, 0), (1, 0), (2, 0), (9, 9)]


def _until(what: Any) -> None:
    from tests.support.processes import wait_for

    wait_for(what, "the tasks to run")


def test_a_message_that_cannot_be_published_holds_nobody_up(small_shop: Shop) -> None:
    shop = small_shop
    ids = leave_behind(shop, 3)
    spoil(shop, ids[0])
    turn = shop.relay.turn()
    assert (turn.published, turn.failed, turn.given_up) == (2, 1, 0)
    assert shop.sent() == ids[1:]
    (row,) = shop.rows()
    assert row.attempts == 1
    assert "newer Flask-Celeriac" in row.error
    dues = [row.due - row.created]
    for _ in range(relay.ATTEMPTS - 2):
        shop.end_leases()
        assert shop.relay.turn().failed == 1
        (row,) = shop.rows()
        dues.append(row.due - row.created)
    assert dues[-1] > 50 * dues[0]
    shop.end_leases()
    assert shop.relay.turn().given_up == 1
    (row,) = shop.rows()
    assert (row.due, row.attempts) == (None, relay.ATTEMPTS)
    assert shop.relay.turn() == relay.Turn()


def test_dead_letters_are_seen_and_steered(small_shop: Shop) -> None:
    shop = small_shop
    ids = leave_behind(shop, 2)
    good = {row.task_id: row.message for row in shop.rows()}
    spoil(shop, ids[0])
    spoil(shop, ids[1])
    for _ in range(relay.ATTEMPTS):
        shop.end_leases()
        shop.relay.turn()
    dead = operations.list_dead(shop.celery)
    assert [message.task_id for message in dead] == ids
    assert operations.show(shop.celery, ids[0]).state == "dead"
    (reason,) = operations.why(shop.celery, ids[0])
    assert reason.code == "ended"
    spoil(shop, ids[0], good[ids[0]])
    assert operations.retry_dead(shop.celery, [ids[0], "no such id"]) == 1
    assert operations.show(shop.celery, ids[0]).state == "queued"
    assert shop.relay.turn().published == 1
    assert shop.sent() == ids[:1]
    assert operations.discard_dead(shop.celery, [ids[0]]) == 0
    assert operations.discard_dead(shop.celery) == 1
    assert shop.rows() == []


def test_a_queue_that_the_server_refuses_is_one_messages_trouble(
    tmp_path: Path, rabbitmq_url: str
) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    with opened(tmp_path, url, CELERY={"broker_url": rabbitmq_url}) as shop:
        with shop.celery.connection_for_write() as connection, connection.channel() as channel:
            Queue("odd", Exchange("odd"), "odd", durable=False)(channel).declare()
        with shop.engine.begin() as connection_to_database:
            connection_to_database.execute(sa.select(1))
        odd = Queue("odd", Exchange("odd"), "odd")
        shop.celery.on_commit.send(lambda: shop.add.apply_async((1, 1), queue=odd))
        good = shop.add.delay_on_commit(2, 2)
        shop.session.commit()
        assert courier.wait(30)
        (row,) = shop.rows()
        assert "PRECONDITION_FAILED" in row.error
        assert row.attempts == 1
        assert shop.sent() == [good.id]


def test_a_broker_out_of_reach_is_no_messages_fault(tmp_path: Path, redis_url: str) -> None:
    with Gate(redis_url) as door:
        url = f"sqlite:///{tmp_path}/app.db"
        settings = {"broker_url": door.url, "result_backend": "cache+memory://"}
        with opened(tmp_path, url, CELERY=settings) as shop:
            ids = leave_behind(shop, 3)
            rounds = Rounds(shop.celery)
            pauses = [rounds.step() for _ in range(3)]
            assert pauses[0] < pauses[1] < pauses[2] < LONGEST
            assert [row.attempts for row in shop.rows()] == [0, 0, 0]
            assert rounds.last is not None
            assert rounds.last.out_of_reach
            door.open()
            assert rounds.step() == 0
            assert rounds.step() < 2 * INTERVAL
            assert shop.sent() == ids


@pytest.mark.parametrize("patient", [True, False])
def test_a_result_store_out_of_reach_is_no_chords_fault(
    tmp_path: Path, redis_url: str, rabbitmq_url: str, patient: bool
) -> None:
    with Gate(redis_url) as door:
        settings = {
            "broker_url": rabbitmq_url,
            "result_backend": door.url,
            "result_backend_transport_options": {"retry_policy": {"max_retries": 1}},
        }
        with opened(tmp_path, f"sqlite:///{tmp_path}/app.db", CELERY=settings) as shop:
            members = [shop.add.s(1, 1), group([shop.add.s(2, 2), shop.add.s(3, 3)])]
            shop.celeriac.delay_on_commit(chord(members, shop.count.s()))
            abandon(shop)
            shop.celery.patient = patient
            turn = shop.relay.turn()
            assert (turn.published, turn.failed) == (0, 0)
            assert turn.out_of_reach
            assert {row.attempts for row in shop.rows()} == {0}
            door.open()
            assert shop.relay.turn().published == 3
            assert len(shop.sent()) == 3
            shop.celery.backend.client.connection_pool.disconnect()


def test_an_application_without_the_table_is_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path, f"sqlite:///{tmp_path}/app.db", table=False) as shop:
        assert Rounds(shop.celery).step() == RARELY
        assert not sa.inspect(shop.engine).has_table("celeriac_outbox")


def test_a_database_out_of_reach_is_waited_for(tmp_path: Path, caplog: Any) -> None:
    with opened(tmp_path, f"sqlite:///{tmp_path}/none/app.db", table=False) as shop:
        rounds = Rounds(shop.celery)
        assert rounds.step() < rounds.step() < LONGEST
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_what_waits_in_the_outbox_is_known(small_shop: Shop) -> None:
    shop = small_shop
    assert shop.celeriac.is_unknown("no such id")
    (task_id,) = leave_behind(shop, 1)
    assert not shop.celeriac.is_unknown(task_id)
    task = operations.show(shop.celery, task_id)
    assert (task.state, task.name, task.args) == ("queued", "shop.add", [0, 0])
    reason = operations.why(shop.celery, task_id)[0]
    assert reason.code == "outbox"
    operations.revoke(shop.celery, task_id)
    assert shop.rows() == []
    assert operations.show(shop.celery, task_id).state == "revoked"
    shop.add.apply_async_on_commit((1, 1), task_id="labelled", labels=["mine"], priority=3)
    abandon(shop)
    labelled = operations.show(shop.celery, "labelled")
    assert (labelled.labels, labelled.priority) == (("mine",), 3)


def test_records_are_written_when_it_is_sent(
    tmp_path: Path, redis_url: str, postgres_url: str
) -> None:
    records = "postgresql+psycopg:" + postgres_url.partition(":")[2]
    config = {"CELERY": {"broker_url": redis_url}, "CELERIAC_DATABASE": records}
    with opened(tmp_path, f"sqlite:///{tmp_path}/app.db", **config) as shop:
        shop.add.delay_on_commit(1, 2)
        shop.session.rollback()
        result = shop.add.apply_async_on_commit((1, 2), countdown=60)
        assert operations.list_tasks(shop.celery).tasks == []
        shop.session.commit()
        assert courier.wait(30)
        (task,) = operations.list_tasks(shop.celery).tasks
        assert (task.id, task.state, task.args) == (result.id, "scheduled", [1, 2])


def test_what_is_lost_after_it_was_sent_is_sent_again_as_it_was(
    tmp_path: Path, redis_url: str, postgres_url: str
) -> None:
    records = "postgresql+psycopg:" + postgres_url.partition(":")[2]
    config = {"CELERY": {"broker_url": redis_url}, "CELERIAC_DATABASE": records}
    with opened(tmp_path, f"sqlite:///{tmp_path}/app.db", **config) as shop:
        options: dict[str, Any] = {
            "expires": 3600,
            "time_limit": 30,
            "soft_time_limit": 20,
            "shadow": "shown",
            "ignore_result": True,
            "headers": {"mine": 1},
            "priority": 3,
        }
        shop.add.apply_async_on_commit((1, 2), link=shop.total.s(), **options)
        shop.add.delay_on_commit(3, 4)
        shop.session.commit()
        assert courier.wait(30)
        before = shop.messages()
        with database.engine_for(records).connect() as connection:
            lost = gate_queries.open_tasks(connection, time.time() + 1, 10)
        for task in lost:
            assert lost_tasks.send_again(shop.celery, task)
        after = {message.headers["id"]: message for message in shop.messages()}
        for message in before:
            again = after[message.headers["id"]]
            for name in ("expires", "timelimit", "shadow", "ignore_result", "mine", "root_id"):
                assert (again.headers.get(name) or None) == (message.headers.get(name) or None)
            assert again.payload == message.payload
            assert again.properties["priority"] == message.properties["priority"]


@pytest.mark.parametrize("again", ["queued", "alone"])
def test_a_message_that_is_in_the_queue_is_not_put_there_twice(
    small_shop: Shop, again: str
) -> None:
    shop = small_shop
    ids = leave_behind(shop, 2 if again == "queued" else 1)
    before = [row._asdict() for row in shop.rows()]
    shop.relay.turn()
    with shop.engine.begin() as connection:  # a relay died before it could delete them
        connection.execute(sa.insert(outbox), [{**row, "due": 1} for row in before])
    assert shop.relay.turn().published == len(ids)
    assert shop.sent() == ids
