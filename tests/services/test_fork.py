"""Database connections and sessions in a worker's processes."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import create_engine, text
from sqlalchemy.orm import scoped_session, sessionmaker

from flask_celeriac import Celeriac, Task

from .conftest import MakeApp, Worker, working
from .systems import environ_of

FLASK_SQLALCHEMY = """
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE"]
celeriac = Celeriac(session=db.session)
celeriac.init_app(app)
db.init_app(app)
session = db.session
app.app_context().push()  # as pasted recipes do, and never popped
pool = db.engine.pool
engine = lambda: db.engine
"""

PLAIN = """
from sqlalchemy import create_engine
from sqlalchemy.orm import scoped_session, sessionmaker

one = create_engine(os.environ["DATABASE"])
session = scoped_session(sessionmaker(bind=one))
celeriac = Celeriac(app, session=session)
engine = lambda: one
"""

MODULE = """
import os
from celery import signals
from flask import Flask
from sqlalchemy import text
from flask_celeriac import Celeriac

app = Flask("shop")
app.config["CELERY"] = {{"result_backend": "cache+memory://"}}
{database}
celery = app.extensions["celery"]
WHICH = text("SELECT pg_backend_pid()")
here = os.getpid()

# One connection in the session's transaction, one idle in the pool.
in_session = session.execute(WHICH).scalar()
with engine().connect() as connection:
    in_pool = connection.execute(WHICH).scalar()


def note(*what):
    with open("ledger", "a") as ledger:
        print([*what], file=ledger, flush=True)


@celeriac.task
def use():
    inherited = engine().pool.checkedout()
    mine = session.execute(WHICH).scalar()
    with engine().connect() as other:
        other = other.execute(WHICH).scalar()
    note("child", os.getpid(), inherited, mine, other)


@signals.worker_shutdown.connect
def at_the_end(**_):
    # The session's transaction is still the one it was when the processes were forked.
    same = session.execute(WHICH).scalar()
    with engine().connect() as connection:
        idle = connection.execute(WHICH).scalar()
    note("parent", here == os.getpid(), same == in_session, idle == in_pool, in_session, in_pool)
"""


@pytest.mark.parametrize("database", [FLASK_SQLALCHEMY, PLAIN], ids=["flask-sqlalchemy", "plain"])
def test_no_connection_is_shared_between_processes(
    start: Callable[..., Worker],
    run: Callable[..., str],
    tmp_path: Path,
    postgres_url: str,
    database: str,
) -> None:
    source = MODULE.format(database=database)
    options = ("-c", "2", "--max-tasks-per-child", "3", "-l", "INFO")
    worker = start(source, *options, DATABASE=postgres_url)
    worker.wait_for("ready.")
    run("import shop\nfor _ in range(12): shop.use.delay()", DATABASE=postgres_url)
    ledger = tmp_path / "ledger"
    worker.wait_for("succeeded")
    while worker.output.count("succeeded") < 12:
        worker.wait_for("succeeded")
        assert "Traceback" not in worker.output, worker.output
    worker.stop()
    noted = [ast.literal_eval(line) for line in ledger.read_text().splitlines()]
    (parent,) = [row[1:] for row in noted if row[0] == "parent"]
    assert parent[:3] == [True, True, True]
    children = [row[1:] for row in noted if row[0] == "child"]
    assert len(children) == 12
    assert {inherited for _, inherited, _, _ in children} == {0}
    used_by: dict[int, set[int]] = {}
    for pid, _, mine, other in children:
        used_by.setdefault(mine, set()).add(pid)
        used_by.setdefault(other, set()).add(pid)
    assert all(len(pids) == 1 for pids in used_by.values())
    assert not set(parent[3:]) & set(used_by)
    assert len({pid for pid, *_ in children}) >= 2


def test_a_plain_session_is_given_back_after_each_task(make_app: MakeApp, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    session = scoped_session(sessionmaker(bind=engine))
    celeriac = Celeriac(session=session)

    @celeriac.task
    def use(fail: bool = False) -> int:
        session.execute(text("SELECT 1"))
        if fail:
            raise LookupError
        return id(session())

    class InContext(Task[..., Any]):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with app.app_context():
                return super().__call__(*args, **kwargs)

    @celeriac.task(base=InContext)
    def nested() -> None:
        session.execute(text("SELECT 1"))

    app = make_app()
    celeriac.init_app(app)
    with working(app, "threads"), app.app_context():
        use.delay().get(timeout=10)
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        nested.delay().get(timeout=10)
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        use.delay(fail=True).get(timeout=10, propagate=False)
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        # Inline and eager calls leave the caller's session alone.
        session.execute(text("SELECT 1"))
        assert use() == id(session()) == use.apply().get()
        assert engine.pool.checkedout() == 1  # type: ignore[attr-defined]
        session.remove()
    engine.dispose()


def test_flask_sqlalchemys_session_is_given_back_with_the_context(
    make_app: MakeApp, tmp_path: Path
) -> None:
    from flask_sqlalchemy import SQLAlchemy

    db = SQLAlchemy()
    celeriac = Celeriac(session=db.session)

    @celeriac.task
    def use() -> int:
        db.session.execute(text("SELECT 1"))
        return int(db.engine.pool.checkedout())  # type: ignore[attr-defined]

    app: Flask = make_app(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/shop.db")
    celeriac.init_app(app)
    db.init_app(app)
    with app.app_context(), working(app, "threads"):
        assert [use.delay().get(timeout=10) for _ in range(2)] == [1, 1]
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        # A solo worker is this very process: its connections are not thrown away.
        with db.engine.connect() as connection:
            pool = db.engine.pool
            with working(app):
                use.delay().get(timeout=10)
            assert db.engine.pool is pool
            assert connection.execute(text("SELECT 1")).scalar() == 1
        db.engine.dispose()


REPLACED = """
import os
from flask import Flask
from flask_celeriac import Celeriac

app = Flask("shop", instance_path=os.path.abspath("instance"))
celeriac = Celeriac(app)
celery = app.extensions["celery"]


@celeriac.task(name="shop.number")
def number(value):
    return value
"""


def test_a_new_process_of_the_pool_ends_no_connection_to_rabbitmq(
    start: Callable[..., Worker], run: Callable[..., str]
) -> None:
    """The main process sends tasks on, too: such as those that it does not know."""
    with environ_of("rabbitmq+postgresql") as environ:
        worker = start(REPLACED, "-c", "1", "--max-tasks-per-child", "1", "-l", "INFO", **environ)
        worker.wait_for("ready.")
        script = """
            import time
            import shop
            with shop.app.app_context():
                shop.celery.send_task("shop.unknown")
                for number in range(8):  # with a look at the other one in between
                    time.sleep(0.5)
                    assert shop.number.delay(number).get(timeout=60) == number
        """
        run(script, **environ)
        assert worker.output.count("is not known to this worker") > 2
        worker.stop()
        assert "cannot be given back yet" not in worker.output
        assert "Connection reset" not in worker.output
