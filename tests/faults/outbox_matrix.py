"""T13: a process that dies at any point of a transaction sends its tasks if it was committed.

Every cell is a shape of a transaction, and a point at which the process ends at once. Then the
leases are declared over, a relay takes its turns, and a worker runs what was sent.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from celery.contrib.testing.worker import start_worker
from hypothesis import seed as reproduce
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from flask_celeriac.tables import outbox, outbox_metadata
from tests.faults import outbox_app
from tests.faults.harness import servers
from tests.faults.outbox_app import POINTS, SHAPES, Shop, orders
from tests.properties.test_outbox import OutboxMachine
from tests.support import pieces, services

#: Sequences of transactions at scale 1.
EXAMPLES = 1_000
Say = Callable[[str], None]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.outbox_app", "flask_celeriac.broker.transport"])


class Cell(NamedTuple):
    """What is tried once.

    :param shape: of the transaction
    :param point: at which the process ends
    """

    shape: str
    point: str
    twophase: bool = False

    @property
    def key(self) -> str:
        return f"{self.shape} {self.point}" + (" two-phase" if self.twophase else "")


ALL = [Cell(shape, point) for shape in SHAPES for point in POINTS]
TWO_PHASE = [Cell(s, p, True) for s in ("commit", "rollback", "savepoint") for p in POINTS]


def try_cells(
    url: str, folder: Path, cells: Iterable[Cell], say: Say = lambda line: None
) -> list[str]:
    """What is wrong after some cells on one database, which is empty.

    :param folder: for the embedded broker
    :param say: told how many processes have ended early
    """
    chosen = list(cells)
    shop = Shop(url, str(folder / "instance"))
    try:
        outbox_metadata.create_all(shop.engine)
        orders.metadata.create_all(shop.engine)
        died = [cell for cell in chosen if _dies(url, folder, cell)]
        say(f"{len(chosen)} transactions, {len(died)} processes ended on the way (0: not tested)")
        return _complaints(shop, chosen, died)
    finally:
        shop.session.remove()
        shop.engine.dispose()


def _dies(url: str, folder: Path, cell: Cell) -> bool:
    process = _context.Process(
        target=outbox_app.child,
        args=(url, str(folder / "instance"), *cell[:2], cell.key, cell.twophase),
    )
    process.start()
    process.join(60)
    assert process.exitcode in (0, 9), f"{cell}: exit code {process.exitcode}"
    return process.exitcode == 9


def _complaints(shop: Shop, cells: list[Cell], died: list[Cell]) -> list[str]:
    wrong = []
    _finish(shop)
    with shop.engine.begin() as connection:
        committed = set(connection.execute(sa.select(orders.c.key)).scalars())
        connection.execute(sa.update(outbox).values(due=0))  # every lease is over
    relay = shop.celery.on_commit.find_relay()
    while relay.turn().taken:
        pass
    with shop.engine.connect() as connection:
        left = connection.execute(sa.select(sa.func.count()).select_from(outbox)).scalar_one()
    if left:
        wrong.append(f"{left} rows are left in the outbox")
    outbox_app.ran.clear()
    with start_worker(shop.celery, pool="solo", perform_ping_check=False):
        marker = "the last one"
        shop.ship.delay(marker).get(timeout=30)
    counts = {key: outbox_app.ran.count(key) for key in outbox_app.ran if key != marker}
    for key in sorted(committed | set(counts)):
        times, due = counts.get(key, 0), int(key in committed)
        if times != due:
            wrong.append(f"{key}: committed {due} times, ran {times} times")
    reached = {cell.point for cell in died}
    expected = {cell.point for cell in cells if cell.shape == "commit"} - {"nowhere"}
    wrong += [f"no process has ended {point}: nothing was tested" for point in expected - reached]
    return wrong


def _finish(shop: Shop) -> None:
    """Decide about what was prepared and left so: it is rolled back."""
    if shop.engine.dialect.name == "postgresql":
        with shop.engine.connect() as connection:
            found = sa.text("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
            for gid in connection.execute(found).scalars().all():
                connection.rollback()
                autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
                autocommit.exec_driver_sql(f"ROLLBACK PREPARED '{gid}'")


def two_phase_missing(url: str) -> str | None:
    """Why two-phase commits cannot be tried on a PostgreSQL."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            most = connection.exec_driver_sql("SHOW max_prepared_transactions").scalar()
    finally:
        engine.dispose()
    return None if int(str(most)) else "two-phase: not tested, max_prepared_transactions is 0"


@contextmanager
def _database(name: str, folder: Path) -> Iterator[str]:
    if name == "sqlite":
        yield f"sqlite:///{folder}/app.db"
    elif name == "postgresql" and servers.can_prepare():
        with contextlib.closing(servers.PostgreSQL()) as server:
            server.start()
            yield "postgresql+psycopg:" + server.url.partition(":")[2]
    elif name == "postgresql":
        with pieces.sql_database(services.POSTGRES, drop="DROP DATABASE {} WITH (FORCE)") as url:
            yield "postgresql+psycopg:" + url.partition(":")[2]
    else:
        with pieces.sql_database(services.MARIADB, drop="DROP DATABASE {}") as url:
            yield "mysql+pymysql:" + url.partition(":")[2]


def run(folder: Path, seed: int, scale: float, say: Say) -> list[str]:
    """Every cell on every database, in an order that the seed decides; fewer at a smaller scale."""
    chance = random.Random(seed)
    wrong = []
    for name in ("sqlite", "postgresql", "mariadb"):
        place = folder / name
        place.mkdir()
        with _database(name, place) as url:
            cells = list(ALL)
            if name == "postgresql":
                reason = two_phase_missing(url)
                say(reason or "two-phase commits are tested")
                cells += [] if reason else TWO_PHASE
            cells = chance.sample(cells, max(1, min(len(cells), round(len(cells) * scale))))
            say(name)
            found = try_cells(url, place, cells, say)
            say(f"{len(found)} wrong")
            wrong += [f"{name}: {each}" for each in found]
    return wrong + _sequences(seed, max(1, round(EXAMPLES * scale)), say)


def _sequences(seed: int, number: int, say: Say) -> list[str]:
    """Transactions and savepoints in any order, without deaths."""
    chosen = settings(OutboxMachine.TestCase.settings, max_examples=number, database=None)
    try:
        run_state_machine_as_test(reproduce(seed)(OutboxMachine), settings=chosen)
    except Exception:  # noqa: BLE001 - whatever it is, it is wrong
        return [traceback.format_exc()]
    say(f"{number} sequences of transactions and savepoints, 0 wrong")
    return []
