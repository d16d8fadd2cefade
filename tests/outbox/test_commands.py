"""``flask celery relay`` and what ``flask celery db`` says of the outbox."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from flask.cli import ScriptInfo

from flask_celeriac.cli import celery as celery_group
from flask_celeriac.outbox.relay import ATTEMPTS
from flask_celeriac.tables import outbox
from tests.cli.terminal import FLASK, Terminal
from tests.services.gate import Gate
from tests.support.processes import wait_for

from .conftest import Shop, opened, own_url
from .test_relay import leave_behind, spoil

APP = """
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_celeriac import Celeriac

db = SQLAlchemy()
celeriac = Celeriac(session=db.session)
app = Flask("shop", instance_path=INSTANCE)
app.config["SQLALCHEMY_DATABASE_URI"] = URL
db.init_app(app)
celeriac.init_app(app)
"""


def run(shop: Shop, *command: str, code: int = 0) -> Result:
    done = CliRunner().invoke(
        celery_group, list(command), obj=ScriptInfo(create_app=lambda: shop.app)
    )
    assert done.exit_code == code, done.output
    return done


def test_once_publishes_what_there_is(small_shop: Shop) -> None:
    assert run(small_shop, "relay", "--once").stdout == "0 published, 0 left\n"
    ids = leave_behind(small_shop, 120)
    assert run(small_shop, "relay", "--once").stdout == "120 published, 0 left\n"
    assert small_shop.sent() == ids


def test_once_says_with_its_exit_code_what_is_wrong(tmp_path: Path, redis_url: str) -> None:
    with Gate(redis_url) as door:
        settings = {"broker_url": door.url, "result_backend": "cache+memory://"}
        with opened(tmp_path, f"sqlite:///{tmp_path}/app.db", CELERY=settings) as shop:
            ids = leave_behind(shop, 2)
            away = run(shop, "relay", "--once", code=3)
            assert "0 published, 2 left" in away.stdout
            assert "out of reach" in away.stderr
            door.open()
            spoil(shop, ids[0])
            with shop.engine.begin() as connection:
                connection.execute(sa.update(outbox).values(attempts=ATTEMPTS - 1))
            assert "--dead" in run(shop, "relay", "--once", code=1).stderr
            assert shop.sent() == ids[1:]


def test_dead_letters_are_listed_sent_and_deleted(small_shop: Shop) -> None:
    shop = small_shop
    assert run(shop, "relay", "--dead").stdout == "No message was given up\n"
    ids = leave_behind(shop, 2)
    for task_id in ids:
        spoil(shop, task_id)
    with shop.engine.begin() as connection:
        connection.execute(sa.update(outbox).values(attempts=ATTEMPTS - 1))
    run(shop, "relay", "--once", code=1)
    assert all(task_id in run(shop, "relay", "--dead").stdout for task_id in ids)
    listed = json.loads(run(shop, "relay", "--dead", "--json").stdout)
    assert [each["task_id"] for each in listed] == ids
    assert ids[0] in run(shop, "list", "--state", "dead").stdout
    assert run(shop, "relay", "--retry-dead", ids[0]).stdout == "1 message to be sent again\n"
    run(shop, "relay", "--discard-dead", ids[0], code=1)
    found = json.loads(run(shop, "relay", "--discard-dead", "all", "--json").stdout)
    assert found == {"done": 1}
    run(shop, "relay", "--once", "--dead", code=2)


@pytest.mark.parametrize("name", ["sqlite", "postgresql", "mariadb"])
def test_the_table_is_made_and_looked_at(
    request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    with opened(tmp_path, own_url(request, name, tmp_path), table=False) as shop:
        assert "flask celery db upgrade" in run(shop, "db", "current").stdout
        assert "no table celeriac_outbox" in run(shop, "db", "check").stdout
        assert "db upgrade" in run(shop, "relay", "--once", code=1).stderr
        assert "celeriac_outbox made" in run(shop, "db", "upgrade").stdout
        assert "is there already" in run(shop, "db", "upgrade").stdout
        assert "as it should be" in run(shop, "db", "current").stdout
        assert "as it should be" in run(shop, "db", "check").stdout
        shop.add.delay_on_commit(1, 1)
        shop.session.commit()
        with shop.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE celeriac_outbox ADD COLUMN more INTEGER")
        assert "celeriac_outbox.more" in run(shop, "db", "check", code=1).stdout


def test_a_missing_table_is_a_fault_where_every_call_needs_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    with opened(tmp_path, url, table=False, CELERIAC_OUTBOX="always") as shop:
        assert "no table celeriac_outbox" in run(shop, "db", "check", code=1).stdout


def test_flask_migrate_leaves_the_table_alone_when_it_is_told(shop: Shop) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    def ours(name: str | None, kind: str, parents: Any) -> bool:
        return not (kind == "table" and str(name).startswith("celeriac_"))

    found = {}
    for told, opts in (("not", {}), ("told", {"include_name": ours})):
        with shop.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts=opts)
            found[told] = compare_metadata(context, shop.db.metadata)
    assert found["told"] == []
    assert "remove_table" in str(found["not"])


@pytest.mark.slow
def test_a_relay_takes_over_from_one_that_was_killed_and_stops_when_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    with opened(tmp_path, url) as shop:
        names = f"INSTANCE = {shop.app.instance_path!r}\nURL = {url!r}\n"
        (tmp_path / "app.py").write_text(names + APP)
        with Terminal(*FLASK, "celery", "relay", cwd=tmp_path) as relay:
            relay.shows("Relaying from sqlite")
            ids = leave_behind(shop, 2000)
            wait_for(lambda: len(shop.rows()) < len(ids), "the relay to publish")
            relay.kill()
        shop.end_leases()
        with Terminal(*FLASK, "celery", "relay", cwd=tmp_path) as relay:
            wait_for(lambda: not shop.rows(), "another to publish the rest")
            relay.press(signal.SIGTERM)
            assert relay.ends() == 0
        assert shop.sent() == ids


def test_nothing_is_relayed_without_a_session(tmp_path: Path) -> None:
    from tests.cli.desk import create_app

    app = create_app(str(tmp_path))
    done = CliRunner().invoke(
        celery_group, ["relay", "--once"], obj=ScriptInfo(create_app=lambda: app)
    )
    assert done.exit_code == 1
    assert "Celeriac(session=...)" in done.stderr
