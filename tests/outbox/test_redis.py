"""What Redis refuses when messages are published, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.broker.redis.own_server import OwnServer
from tests.broker.redis.proxy import Proxy

from .conftest import Shop, opened
from .test_relay import abandon, leave_behind


@contextmanager
def shop_on(url: str, folder: Path, **settings: Any) -> Iterator[Shop]:
    settings = {"broker_url": url, "result_backend": "cache+memory://", **settings}
    with opened(folder, f"sqlite:///{folder}/app.db", CELERY=settings) as shop:
        yield shop


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnServer]:
    server = OwnServer(tmp_path).start()
    yield server
    server.kill()


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("state", ["full", "read only"])
def test_a_server_that_takes_nothing_is_no_messages_fault(
    tmp_path: Path, own_server: OwnServer, state: str, number: int
) -> None:
    with own_server.client() as server, shop_on(own_server.url, tmp_path) as shop:
        ids = leave_behind(shop, number)
        if state == "full":
            server.config_set("maxmemory", 1)
        else:
            server.replicaof("127.0.0.1", "1")
        turn = shop.relay.turn()
        assert (turn.published, turn.failed) == (0, 0)
        assert turn.out_of_reach
        assert {row.attempts for row in shop.rows()} == {0}
        server.config_set("maxmemory", 0)
        server.replicaof("NO", "ONE")
        assert shop.relay.turn().published == number
        assert shop.sent() == ids


def test_nothing_is_published_again_at_once_whose_answer_was_lost(
    tmp_path: Path, redis_url: str
) -> None:
    with Proxy(redis_url) as way, shop_on(way.url, tmp_path) as shop:
        ids = leave_behind(shop, 3)
        way.lose_answers_to("LPUSH")
        turn = shop.relay.turn()
        assert way.lost == 1
        assert (turn.published, turn.failed) == (0, 0)
        assert turn.out_of_reach
        assert shop.sent() == ids
        assert [(row.attempts, row.owner) for row in shop.rows()] == [(0, None)] * 3


@pytest.mark.parametrize("claims", [True, False])
def test_a_message_that_redis_refuses_has_no_other_published_again(
    tmp_path: Path, redis_url: str, claims: bool
) -> None:
    options = {"broker_transport_options": {"claims": claims}}
    with redis.Redis.from_url(redis_url) as server, shop_on(redis_url, tmp_path, **options) as shop:

        def write() -> list[str]:
            queues = ("celery", "odd", "celery")
            calls = [{"args": (1, 1), "queue": queue} for queue in queues]
            ids = [shop.add.apply_async_on_commit(**call).id for call in calls]
            abandon(shop)
            return ids

        write()
        assert shop.relay.turn().published == 3  # the queues are declared now
        server.delete("celery")
        server.set("odd", "no list")
        ids = write()
        turn = shop.relay.turn()
        assert (turn.published, turn.failed, turn.out_of_reach) == (2, 1, None)
        assert shop.sent() == [ids[0], ids[2]]
        (row,) = shop.rows()
        assert (row.task_id, row.attempts) == (ids[1], 1)
        assert "wrong kind of value" in row.error


def test_what_still_fits_into_redis_is_published_once(
    tmp_path: Path, own_server: OwnServer
) -> None:
    with own_server.client() as server, shop_on(own_server.url, tmp_path) as shop:
        ids = [shop.add.delay_on_commit("x" * 100_000, number).id for number in range(40)]
        abandon(shop)
        used = server.info("memory")["used_memory"]
        server.config_set("maxmemory", used + 1_500_000)
        turn = shop.relay.turn()
        assert 0 < turn.published < 40
        assert turn.failed == 0
        assert "maxmemory" in str(turn.out_of_reach)
        assert {row.attempts for row in shop.rows()} == {0}
        server.config_set("maxmemory", 0)
        assert shop.relay.turn().published == 40 - turn.published
        assert shop.sent() == ids
        assert shop.rows() == []
