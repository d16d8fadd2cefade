"""An application with a table of its own, whose orders and tasks are to agree.

Every order is written in a transaction with a task that is sent on commit. Whatever happens: the
task runs if and only if the order is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy import event
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from flask_celeriac import Celeriac
from flask_celeriac.outbox.courier import courier

orders = sa.Table("orders", sa.MetaData(), sa.Column("key", sa.String(100), primary_key=True))
#: The keys of the orders whose tasks have run in this process.
ran: list[str] = []


class UsersError(Exception):
    """What a user's own hook raises."""


class Shop:
    """The application.

    :param url: SQLAlchemy's, of its database
    :param folder: its instance folder, with the broker's file
    """

    def __init__(self, url: str, folder: str, *, twophase: bool = False, **config: Any) -> None:
        self.engine = sa.create_engine(url)
        self.session = scoped_session(sessionmaker(self.engine, twophase=twophase))
        self.app = Flask("shop", instance_path=folder)
        self.app.config.update(config)
        self.celeriac = Celeriac(session=self.session)

        @self.celeriac.task(name="shop.ship")
        def ship(key: str) -> None:
            ran.append(key)

        self.ship = ship
        self.celeriac.init_app(self.app)
        self.celery: Any = self.app.extensions["celery"]

    def order(self, key: str) -> None:
        """Write an order, and a task to be sent on commit."""
        self.session.execute(sa.insert(orders).values(key=key))
        self.ship.delay_on_commit(key)


def commit(shop: Shop, key: str) -> None:
    shop.order(key)
    shop.session.commit()


def rollback(shop: Shop, key: str) -> None:
    shop.order(key)
    shop.session.rollback()


def close(shop: Shop, key: str) -> None:
    shop.order(key)
    shop.session.remove()


def savepoint(shop: Shop, key: str) -> None:
    shop.session.execute(sa.select(1))
    with shop.session.begin_nested():
        shop.order(key)
    shop.session.commit()


def savepoint_rolled_back(shop: Shop, key: str) -> None:
    shop.order(key)
    inner = shop.session.begin_nested()
    shop.order(f"{key} inner")
    inner.rollback()
    shop.session.commit()


def savepoint_first(shop: Shop, key: str) -> None:
    with shop.session.begin_nested():
        shop.order(key)
    shop.session.commit()


def savepoint_first_rolled_back(shop: Shop, key: str) -> None:
    with shop.session.begin_nested():
        shop.order(key)
    shop.session.rollback()


def hook_after_commit(shop: Shop, key: str) -> None:
    session = shop.session()
    event.listen(session, "after_commit", _fail, insert=True)
    shop.order(key)
    try:
        session.commit()
    except UsersError:
        session.close()  # it is committed, and allows nothing else


def hook_before_commit(shop: Shop, key: str) -> None:
    session = shop.session()
    event.listen(session, "before_commit", _fail)
    shop.order(key)
    try:
        session.commit()
    except UsersError:
        session.rollback()


def _fail(session: Session) -> None:
    raise UsersError


Shape = Callable[[Shop, str], None]
SHAPES: dict[str, Shape] = {
    each.__name__: each
    for each in (
        *(commit, rollback, close, savepoint, savepoint_rolled_back, savepoint_first),
        *(savepoint_first_rolled_back, hook_after_commit, hook_before_commit),
    )
}
POINTS = (
    *("nowhere", "before insert", "after insert", "before commit", "after commit"),
    *("before delete", "after delete"),
)


def die_at(shop: Shop, point: str) -> None:
    """Have this process end at a point, as if the power went: nothing is cleaned up."""
    engine = shop.engine
    seen = {"delete": False}

    def before(_: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen["delete"] = seen["delete"] or statement.startswith("DELETE FROM celeriac_outbox")
        _die(point == "before insert" and statement.startswith("INSERT INTO celeriac_outbox"))
        _die(point == "before delete" and seen["delete"])

    def after(_: Any, cursor: Any, statement: str, *rest: Any) -> None:
        _die(point == "after insert" and statement.startswith("INSERT INTO celeriac_outbox"))

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    # Engines tell of a commit before it happens, sessions when it has.
    for name in ("commit", "commit_twophase"):
        event.listen(engine, name, lambda *_: _die(point == "before commit"))
    event.listen(
        shop.session, "after_commit",
        lambda session: _die(point == "after commit" and not session.in_nested_transaction()),
        insert=True,
    )  # fmt: skip
    event.listen(engine, "checkin", lambda *_: _die(point == "after delete" and seen["delete"]))


def _die(now: bool) -> None:
    if now:
        os._exit(9)


def child(url: str, folder: str, shape: str, point: str, key: str, twophase: bool) -> None:
    """One transaction in a process of its own."""
    shop = Shop(url, folder, twophase=twophase)
    die_at(shop, point)
    with shop.app.app_context():
        SHAPES[shape](shop, key)
    courier.wait(30)
    os._exit(0)
