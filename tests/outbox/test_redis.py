"""What Redis refuses when messages are published, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.broker.redis.own_server import OwnServer

from .conftest import Shop, opened
from .test_relay import leave_behind


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
