"""A limit on how many run at once while processes are killed."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.services.systems import _DATABASES
from tests.support import pieces
from tests.support.processes import wait_for

from .conftest import Worker

#: Each run holds a lock that the kernel frees, and counts those of the others when it begins.
SHOP = """
import fcntl, os, signal, time
from pathlib import Path
from flask import Flask
from flask_celeriac import Celeriac

celeriac = Celeriac()
here = Path(__file__).parent

@celeriac.task(bind=True, concurrency=2)
def work(self, n):
    with open(here / "counting", "w") as counting:
        fcntl.flock(counting, fcntl.LOCK_EX)
        others = sum(map(is_held, (here / "runs").iterdir()))
        mine = open(here / "runs" / f"{self.request.id}-{os.getpid()}-{time.time()}", "w")
        fcntl.flock(mine, fcntl.LOCK_EX)
        first = not (here / f"seen-{n}").exists()
        (here / f"seen-{n}").touch()
        with open(here / "ledger", "a") as ledger:
            print(n, others, file=ledger, flush=True)
    with mine:
        time.sleep(0.1)
        if first and n % 4 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if first and n % 4 == 2:
            (here / "stuck").touch()
            time.sleep(60)
        (here / f"done-{n}").touch()

def is_held(path):
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False

app = Flask("shop")
app.config["CELERY"] = {"task_default_queue": "shop"}
app.config.from_prefixed_env("SHOP")
celeriac.init_app(app)
celery = app.extensions["celery"]
"""


@pytest.fixture(params=["embedded", "rabbitmq+mariadb"])
def environ(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    if request.param == "embedded":
        yield {}
        return
    service, drop, driver = _DATABASES["mariadb"]
    with pieces.rabbitmq_vhost() as broker, pieces.sql_database(service, drop=drop) as url:
        database = f"{driver}:{url.partition(':')[2]}"
        yield {"CELERY_BROKER_URL": broker, "SHOP_CELERIAC_DATABASE": database}


@pytest.mark.slow
def test_killed(
    start: Callable[..., Worker],
    run: Callable[..., str],
    tmp_path: Path,
    environ: dict[str, str],
) -> None:
    """Pool processes that kill themselves, and whole workers whose runs do not end."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "shop.py").write_text(textwrap.dedent(SHOP))
    run("from shop import *\nwith app.app_context(): work.delay_many([(n,) for n in range(6)])",
        **environ)  # fmt: skip
    stuck, done = tmp_path / "stuck", [tmp_path / f"done-{n}" for n in range(6)]
    worker = start(SHOP, "--concurrency", "4", **environ)
    while not all(path.exists() for path in done):
        wait_for(lambda: stuck.exists() or all(path.exists() for path in done), "a run")
        if stuck.exists():
            worker.kill()
            stuck.unlink()
            worker = start(SHOP, "--concurrency", "4", **environ)
    ledger = [line.split() for line in (tmp_path / "ledger").read_text().splitlines()]
    assert max(int(others) for _, others in ledger) == 1, ledger
    assert {int(n) for n, _ in ledger} == set(range(6))
