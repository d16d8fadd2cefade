"""A shop whose orders and tasks are written in one transaction, on each database and broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from kombu import pools

from flask_celeriac import Celeriac
from flask_celeriac.outbox.courier import courier
from flask_celeriac.outbox.relay import Relay
from flask_celeriac.tables import outbox, outbox_metadata
from tests.records.conftest import database_url

DATABASES = ["sqlite", "postgresql", "mariadb"]
#: Each of both once: every pair would take long and show nothing more.
PAIRS = [("sqlite", "embedded"), ("postgresql", "redis"), ("mariadb", "rabbitmq")]


class Shop:
    """An application with Flask-SQLAlchemy.

    :param url: of its own database
    """

    def __init__(self, folder: Path, url: str, **config: Any) -> None:
        self.db = SQLAlchemy()
        self.app = Flask("shop", instance_path=str(folder / "instance"))
        self.app.config.update(SQLALCHEMY_DATABASE_URI=url, **config)
        self.db.init_app(self.app)
        self.celeriac = Celeriac(session=self.db.session)
        self.ran: list[Any] = []

        @self.celeriac.task(name="shop.add")
        def add(a: int, b: int) -> int:
            self.ran.append((a, b))
            return a + b

        @self.celeriac.task(name="shop.total")
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        @self.celeriac.task(name="shop.count")
        def count(numbers: list[Any]) -> list[Any]:
            return numbers

        self.add, self.total, self.count = add, total, count
        self.celeriac.init_app(self.app)
        self.celery: Any = self.app.extensions["celery"]

    @property
    def session(self) -> Any:
        return self.db.session

    @property
    def engine(self) -> sa.Engine:
        return self.db.engine

    def rows(self) -> list[Any]:
        """What others see in the outbox, the oldest first."""
        with self.engine.connect() as connection:
            return list(connection.execute(sa.select(outbox).order_by(outbox.c.id)))

    def end_leases(self) -> None:
        """As if whoever wrote into the outbox had died some time ago."""
        with self.engine.begin() as connection:
            connection.execute(sa.update(outbox).values(due=1))

    @property
    def relay(self) -> Relay:
        found = self.celery.on_commit.find_relay()
        assert found is not None
        return found

    def messages(self) -> list[Any]:
        """All messages in the queue, which is empty then."""
        with self.celery.connection_for_read() as connection, connection.channel() as channel:
            queue = self.celery.amqp.queues["celery"](channel)
            queue.declare()
            return list(iter(lambda: queue.get(no_ack=True), None))

    def sent(self) -> list[str]:
        """The ids of the tasks in the queue, which is empty then."""
        assert courier.wait(30)
        return [message.headers["id"] for message in self.messages()]


MakeShop = Callable[..., Shop]


def own_url(request: pytest.FixtureRequest, name: str, folder: Path) -> str:
    """The URL of an application's own database, empty."""
    if name == "sqlite":
        return f"sqlite:///{folder}/app.db"
    return database_url(request, name, folder).removeprefix("celeriac+")


@contextmanager
def opened(folder: Path, url: str, *, table: bool = True, **config: Any) -> Iterator[Shop]:
    shop = Shop(folder, url, **config)
    with shop.app.app_context():
        if table:
            outbox_metadata.create_all(shop.engine)
        yield shop
        shop.session.remove()
        assert courier.wait(30)
        shop.engine.dispose()
    shop.celery.close()
    pools.reset()


@pytest.fixture(params=DATABASES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """One on each database, on the embedded broker."""
    with opened(tmp_path, own_url(request, request.param, tmp_path)) as shop:
        yield shop


@pytest.fixture
def small_shop(tmp_path: Path) -> Iterator[Shop]:
    """One on SQLite and the embedded broker."""
    with opened(tmp_path, f"sqlite:///{tmp_path}/app.db") as shop:
        yield shop


@pytest.fixture(params=PAIRS, ids=["-".join(pair) for pair in PAIRS])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str | None]:
    """A database, and a broker (None for the embedded one)."""
    database, broker = request.param
    url = own_url(request, database, tmp_path)
    return url, None if broker == "embedded" else request.getfixturevalue(f"{broker}_url")
