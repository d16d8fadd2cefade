"""What a task that is sent on commit adds to a request.

``python -m bench.outbox`` writes an order and commits it, as a view does, by turns without a task,
with one that is sent on commit, and with a plain ``delay()`` after the commit, on each database. It
prints the medians, and what a task adds. The target is less than a millisecond on commit.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, scoped_session, sessionmaker

from flask_celeriac import Celeriac
from flask_celeriac.outbox.courier import courier
from flask_celeriac.tables import outbox_metadata

from . import databases

#: Seconds that a task may add.
TARGET = 0.001


class Base(DeclarativeBase):
    """Of the application's tables."""


class Order(Base):
    """What a view writes."""

    __tablename__ = "shop_order"

    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str] = mapped_column(sa.String(50))


def main() -> int:
    """Measure; 0 if the target is reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=500, help="of each kind")
    options = parser.parse_args()
    late = 0
    print(f"{'':<12} {'order':>9} {'on commit':>12} {'delay() after':>15}   adds, milliseconds")
    for name, connect in DATABASES.items():
        with (
            tempfile.TemporaryDirectory(prefix="celeriac-outbox-") as folder,
            connect(folder) as url,
        ):
            found = measure(folder, url, options.requests)
        order, on_commit, after = (statistics.median(found[kind]) for kind in KINDS)
        added = on_commit - order
        late += added > TARGET
        print(
            f"{name:<12} {order * 1e3:9.2f} {on_commit * 1e3:12.2f} {after * 1e3:15.2f}"
            f"   {added * 1e3:.2f} on commit, {(after - order) * 1e3:.2f} after it"
        )
    print(f"target: less than {TARGET * 1e3:g} on commit: {'NO' if late else 'yes'}")
    return 1 if late else 0


KINDS = ("order", "on commit", "after")


def measure(folder: str, url: str, requests: int) -> dict[str, list[float]]:
    """Seconds of requests of each kind, which take turns."""
    engine = sa.create_engine(url)
    Base.metadata.create_all(engine)
    outbox_metadata.create_all(engine)
    session = scoped_session(sessionmaker(engine))
    app = Flask("shop", instance_path=folder)
    celeriac = Celeriac(app, session=session)

    @celeriac.task(name="shop.confirm")
    def confirm(number: int) -> None:
        """Never run here."""

    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with app.app_context():
        for number in range(-10, requests):
            for kind in KINDS:
                began = time.perf_counter()
                order = Order(item="a book")
                session.add(order)
                session.flush()
                book = order.id
                if kind == "on commit":
                    confirm.delay_on_commit(book)
                session.commit()
                if kind == "after":
                    confirm.delay(book)
                if number >= 0:
                    found[kind].append(time.perf_counter() - began)
                session.remove()
                courier.wait(10)  # whose work is another request's time
    engine.dispose()
    return found


@contextmanager
def sqlite(folder: str) -> Iterator[str]:
    """A file of the application's own."""
    yield f"sqlite:///{Path(folder) / 'app.db'}"


DATABASES: dict[str, Callable[[str], AbstractContextManager[str]]] = {
    "sqlite": sqlite,
    "postgresql": lambda _: databases.postgresql(),
    "mariadb": lambda _: databases.mariadb(),
}

if __name__ == "__main__":
    sys.exit(main())
