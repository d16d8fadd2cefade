"""How long lists and counts take among a million records, on each database.

``python -m bench.lists`` fills an embedded file, PostgreSQL and MariaDB with records, and the
embedded queue with tasks, and prints the median and the 95th percentile of every query that a list
is made of. The target is 50 ms for each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from flask_celeriac import database, sqlite, states
from flask_celeriac.broker import queries as broker_queries
from flask_celeriac.broker import task_queries as queue_queries
from flask_celeriac.broker.store import Store
from flask_celeriac.records import task_queries
from flask_celeriac.records.task_queries import Place
from flask_celeriac.records.task_record import Filter
from flask_celeriac.tables import record

from . import databases

TARGET = 0.050
PAGE = 50
CAP = 10_000
#: Seconds between two tasks.
GAP = 0.5
START = 1_700_000_000.0
#: What is rare is ten tasks among all, the oldest ones: the worst place for it.
RARE = 10

#: The fourth place where tasks are.
QUEUE = "queue"

Query = Callable[[Any], object]
Connect = Callable[[], AbstractContextManager[Any]]


def main() -> int:
    """Measure; 0 if every query is in time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument(
        "--only", nargs="*", choices=[*DATABASES, QUEUE], default=[*DATABASES, QUEUE]
    )
    options = parser.parse_args()
    slow = 0
    for name in options.only:
        with ExitStack() as stack:
            began = time.monotonic()
            if name == QUEUE:
                connect, asked = stack.enter_context(queue(options.rows)), of_queue(options.rows)
            else:
                engine = stack.enter_context(DATABASES[name]())
                fill(engine, options.rows)
                connect, asked = engine.connect, queries(options.rows)
            print(f"\n{name}: {options.rows:,} rows, made in {time.monotonic() - began:.0f} s")
            slow += measure(connect, asked, options.repeat)
    print(f"\n{slow} queries take longer than {TARGET * 1000:.0f} ms" if slow else "\nall in time")
    return 1 if slow else 0


@contextmanager
def embedded() -> Iterator[sa.Engine]:
    """The embedded file."""
    with tempfile.TemporaryDirectory(prefix="celeriac-lists-") as folder:
        engine = database.engine_for(sqlite.url_of(str(Path(folder) / "celeriac.db")))
        yield engine
        engine.dispose()


@contextmanager
def postgresql() -> Iterator[sa.Engine]:
    """A new PostgreSQL database."""
    with databases.postgresql() as url:
        yield from _engine(url)


@contextmanager
def mariadb() -> Iterator[sa.Engine]:
    """A new MariaDB database."""
    with databases.mariadb() as url:
        yield from _engine(url)


def _engine(url: str) -> Iterator[sa.Engine]:
    engine = database.engine_for(url)
    yield engine
    engine.dispose()


DATABASES = {"embedded": embedded, "postgresql": postgresql, "mariadb": mariadb}


def fill(engine: sa.Engine, rows: int) -> None:
    """Records of a shop that has been running for a while."""
    batch = 10_000
    for first in range(0, rows, batch):
        with engine.begin() as connection:
            made = [row(number) for number in range(first, min(first + batch, rows))]
            connection.execute(sa.insert(record), made)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("VACUUM ANALYZE celeriac_record")
        elif engine.dialect.name != "sqlite":
            connection.exec_driver_sql("ANALYZE TABLE celeriac_record")


def row(number: int) -> dict[str, Any]:
    """The record of one task."""
    rare = number < RARE
    failed = number % 50 == 7
    created = START + number * GAP
    return {
        "task_id": str(uuid.uuid4()),
        "state": state_of(number),
        "status": "FAILURE" if failed else "SUCCESS",
        "name": "shop.rare" if rare else f"shop.common{number % 7}",
        "queue": "rare" if rare else ("celery", "mails")[number % 2],
        "worker": "celery@rare" if rare else f"celery@host{number % 4}",
        "labels": json.dumps(["rare"]) if rare else None,
        "priority": 0,
        "attempts": 1,
        "arguments": json.dumps([[number, "an argument of some length" * 4], {}, {}]),
        "result": json.dumps({"answer": number}),
        "error_type": "ValueError" if failed else None,
        "error_message": f"no such order: {number}" if failed else None,
        "error_fingerprint": f"{number % 20:016x}" if failed else None,
        "created": created,
        "started": created + 0.1,
        "finished": created + 0.2,
        "updated": created + 0.2,
    }


def state_of(number: int) -> str:
    """Most have succeeded; a fifth waits still, as in another broker's queue."""
    if number < RARE:
        return states.DEAD
    if number % 50 == 7:
        return states.FAILED
    return states.QUEUED if number % 5 == 0 else states.SUCCEEDED


def queries(rows: int) -> Iterator[tuple[str, Query]]:
    """Every kind of list and count, with its name."""
    middle = START + rows * GAP / 2
    page = Place(middle, "m")
    chosen = {
        "everything": Filter(),
        "state, common": Filter(states=(states.SUCCEEDED,)),
        "state, rare": Filter(states=(states.DEAD,)),
        "states, some of them rare": Filter(states=(states.FAILED, states.DEAD, states.REVOKED)),
        "states, all rare": Filter(states=(states.DEAD, states.REVOKED)),
        "states, ended": Filter(states=states.ENDED),
        "name, common": Filter(name="shop.common1"),
        "name, rare": Filter(name="shop.rare"),
        "name and state": Filter(name="shop.common1", states=(states.FAILED,)),
        "queue, common": Filter(queue="mails"),
        "queue, rare": Filter(queue="rare"),
        "worker, common": Filter(worker="celery@host1"),
        "worker, rare": Filter(worker="celery@rare"),
        "label, rare": Filter(label="rare"),
        "error": Filter(error=f"{7:016x}"),
        "time, an hour": Filter(created_after=middle, created_before=middle + 3600),
        "time and state": Filter(states=(states.FAILED,), created_before=middle),
        "workflow": Filter(root="no-such-task"),
        "text, nowhere": Filter(text="no such text"),
    }
    yield "queues", task_queries.oldest_waiting
    for worker in ("celery@host1", "celery@rare"):
        yield f"open tasks of {worker}", partial(task_queries.open_of_worker, worker=worker)
    for name, one in chosen.items():
        yield f"list: {name}", _list(one, None)
        yield f"page: {name}", _list(one, page)
        yield f"count: {name}", _count(one)


def _list(chosen: Filter, after: Place | None) -> Query:
    return lambda connection: task_queries.list_tasks(connection, chosen, after, PAGE)


def _count(chosen: Filter) -> Query:
    return lambda connection: task_queries.count_tasks(connection, chosen, CAP)


@contextmanager
def queue(rows: int) -> Iterator[Connect]:
    """An embedded queue of many tasks: some scheduled, a few running, the most of them ready."""
    with tempfile.TemporaryDirectory(prefix="celeriac-lists-") as folder:
        store = Store(str(Path(folder) / "celeriac.db"), "normal")
        store.open()
        batch = 10_000
        for first in range(0, rows, batch):
            made = [message(number) for number in range(first, min(first + batch, rows))]
            with store.file.transaction() as db:
                broker_queries.put_many(db, made)
        with store.file.transaction() as db:
            broker_queries.claim(db, "celery", 16, 1, time.time())
        yield store.file.connection
        store.file.close()


def message(number: int) -> broker_queries.Row:
    """The message of one task."""
    task_id, rare = str(uuid.uuid4()), number < RARE
    name = "shop.rare" if rare else f"shop.common{number % 7}"
    headers = {"id": task_id, "task": name, "root_id": task_id, "retries": 0, "lang": "py"}
    due = START * 2 + number if number % 5 == 0 else None
    body = json.dumps([[number, "an argument of some length" * 4], {}, {}])
    place = "rare" if rare else ("celery", "mails")[number % 2]
    return broker_queries.Row(
        place, 0, task_id, name, due, None, START + number * GAP, json.dumps({"headers": headers}),
        body,
    )  # fmt: skip


def of_queue(rows: int) -> Iterator[tuple[str, Query]]:
    """Every kind of list and count of the embedded queue."""
    middle = START + rows * GAP / 2
    yield "queues", lambda db: queue_queries.queues(db, CAP)
    chosen = {
        **{state: Filter(states=(state,)) for state in states.OPEN},
        "queue, common": Filter(queue="mails"),
        "queue, rare": Filter(queue="rare"),
        "queue and state": Filter(queue="mails", states=(states.SCHEDULED,)),
        "everything": Filter(),
        "name, common": Filter(name="shop.common1"),
        "name, rare": Filter(name="shop.rare"),
        "label, nowhere": Filter(label="none"),
        "text, nowhere": Filter(text="no such text"),
        "workflow": Filter(root="no-such-task"),
        "time and name": Filter(name="shop.rare", created_before=middle),
    }
    for name, one in chosen.items():
        yield f"list: {name}", _messages(one, None)
        yield f"page: {name}", _messages(one, (middle, "m"))
        yield f"count: {name}", _messages_counted(one)


def _messages(chosen: Filter, after: tuple[float, str] | None) -> Query:
    return lambda db: queue_queries.list_messages(db, chosen, after, PAGE)


def _messages_counted(chosen: Filter) -> Query:
    return lambda db: queue_queries.count_messages(db, chosen, CAP)


def measure(connect: Connect, asked: Iterator[tuple[str, Query]], repeat: int) -> int:
    """Print a line for each query; how many are too slow."""
    slow = 0
    for name, query in asked:
        took = []
        with connect() as connection:
            query(connection)
            for _ in range(repeat):
                began = time.perf_counter()
                query(connection)
                took.append(time.perf_counter() - began)
        median = statistics.median(took)
        late = statistics.quantiles(took, n=20)[-1]
        missed = late > TARGET
        slow += missed
        mark = "  <- slow" if missed else ""
        print(f"  {name:<32} p50 {median * 1000:7.1f} ms  p95 {late * 1000:7.1f} ms{mark}")
    return slow


if __name__ == "__main__":
    sys.exit(main())
