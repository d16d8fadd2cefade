"""The pieces of real servers that the fixtures hand out are usable, and each test's own."""

from __future__ import annotations

import pytest
import redis
import sqlalchemy
from kombu import Connection

from tests.support.services import SERVICES, Service


@pytest.mark.parametrize("_round", ["first", "second"])
def test_a_test_starts_with_an_empty_redis_database(redis_url: str, _round: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


@pytest.mark.parametrize("fixture", ["postgres_url", "mariadb_url"])
@pytest.mark.parametrize("_round", ["first", "second"])
def test_a_test_starts_with_an_empty_database(
    request: pytest.FixtureRequest, fixture: str, _round: str
) -> None:
    engine = sqlalchemy.create_engine(
        request.getfixturevalue(fixture), poolclass=sqlalchemy.NullPool
    )
    with engine.begin() as connection:
        assert sqlalchemy.inspect(connection).get_table_names() == []
        connection.execute(sqlalchemy.text("CREATE TABLE left_behind (id INTEGER)"))


@pytest.mark.parametrize("_round", ["first", "second"])
def test_a_test_starts_with_an_empty_rabbitmq(rabbitmq_url: str, _round: str) -> None:
    with Connection(rabbitmq_url) as connection:
        queue = connection.SimpleQueue("left-behind")
        assert queue.qsize() == 0
        queue.put({"left": "behind"})
        queue.close()


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_missing_server_is_told_on_one_line(
    service: Service, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    scheme = service.default.split("://")[0]
    url = f"{scheme}://nobody:nothing@127.0.0.1:{unused_tcp_port}/nowhere"
    monkeypatch.setenv(service.variable, url)
    reason = service.missing()
    assert reason is not None
    assert f"127.0.0.1:{unused_tcp_port}" in reason
    assert service.start in reason
    assert service.variable in reason
    assert "\n" not in reason
