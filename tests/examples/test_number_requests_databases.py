"""The rows of number requests: on each database, and when what works on them is killed."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.processes import Running

from .number_requests_support import Site

PROCESS_A_NUMBER = """
from main_app.extensions import db
from main_app.models.models import Numbers, Request
from main_app.tasks.processing import ProcessingError, run_processing

row = Numbers(numbers=1, job_to_do="mul")
db.session.add(Request(request_id=1, task_id="", rows=[row]))
db.session.commit()
with app.test_request_context(base_url="WEB"):
    try:
        run_processing("mul")
    except ProcessingError as error:
        print(error)
"""

FOUR_AT_ONCE = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from main_app.extensions import Base, db
from main_app.models import work
from main_app.models.models import Numbers, Request, create_tables

start = Barrier(4)

def create(_):
    start.wait()
    create_tables(app)

def claim(_):
    with app.app_context():
        start.wait()
        return [row["number"] for row in work.claim("sum", lease_seconds=300)]

with ThreadPoolExecutor(4) as pool:
    Base.metadata.drop_all(db.engine)
    list(pool.map(create, range(4)))

    rows = [Numbers(numbers=number, job_to_do="sum") for number in range(200)]
    db.session.add(Request(request_id=1, task_id="", rows=rows))
    db.session.commit()
    print(sorted(sum(pool.map(claim, range(4)), [])) == list(range(200)))
"""


@pytest.fixture(params=["postgres_url", "mariadb_url"])
def server(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def silence() -> Iterator[str]:
    """The URL of a web server that takes what it is sent, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_request_is_processed_on_other_databases(server: str, tmp_path: Path) -> None:
    with Site(tmp_path, SQLALCHEMY_DATABASE_URI=server) as site:
        site.serve()
        site.worker("-B", "--pool=solo")
        shown = site.script("test/send_user_request.py", "1")
        assert shown.splitlines()[1:] == ["sum of 1 is 3", "mul of 20 is 40", "sum of 300 is 302"]
        again = {"rid": 1, "numbers": [1], "jobtodo": ["sum"]}
        assert site.post("/number_request", json=again).status_code == 400
        site.store(2, [5, 6, 7], ["mul", "sum", "mul"])
        assert site.done(2)["result"] == [10, 8, 14]
    assert not site.database.exists()


def test_several_make_tables_and_claim_numbers(tmp_path: Path) -> None:
    assert Site(tmp_path).python(FOUR_AT_ONCE) == "True\n"


def test_several_make_tables_and_claim_numbers_on_other_databases(
    server: str, tmp_path: Path
) -> None:
    site = Site(tmp_path, SQLALCHEMY_DATABASE_URI=server)
    assert site.python(FOUR_AT_ONCE) == "True\n"


def test_numbers_of_the_killed_are_taken_again(tmp_path: Path, silence: str) -> None:
    with Site(tmp_path) as site:
        site.serve()
        worker = site.work(FLASK_CELERIAC_URL_BASE=silence)
        site.store(1, [1, 2], ["sum", "sum"])
        worker.sees("sum.py is process ")
        processing(worker).kill()
        worker.sees("sum.py ended with -9")
        worker.sees(re.compile(r"sum_task\S+ succeeded in \S+ 'nothing to do'"))
        worker.kill()
        assert site.rows("state, result_numbers") == [("doing", None), ("doing", None)]

        site.execute("UPDATE numbers SET claimed_at = claimed_at - 301")
        worker = site.work()
        assert site.done(1)["result"] == [3, 4]
        worker.sees(re.compile(r"sum_task\S+ succeeded in \S+ 'numbers processed: 2'"))
        worker.sees("{'updated': 2, 'ignored': 0}")


def test_numbers_of_a_killed_worker_are_taken_again(tmp_path: Path, silence: str) -> None:
    with Site(tmp_path) as site:
        site.serve()
        worker = site.work(FLASK_CELERIAC_URL_BASE=silence)
        site.store(1, [1], ["mul"])
        worker.sees("mul.py is process ")
        worker.kill()
        worker = site.work()
        worker.sees(re.compile(r"mul_task\S+ succeeded in \S+ 'nothing to do'"))
        assert site.look_up(1)["state"] == ["doing"]
        site.execute("UPDATE numbers SET claimed_at = claimed_at - 301")
        assert site.done(1)["result"] == [2]


def processing(worker: Running) -> psutil.Process:
    (found,) = [process for process in worker.alive() if "sum.py" in " ".join(process.cmdline())]
    return found


@pytest.mark.parametrize(
    ("listens", "lease", "why"),
    [
        (False, 300, "mul.py ended with 1 (urllib.error.URLError: <urlopen error [Errno 111]"),
        (True, 1, "mul.py did not end: see whether the web server answers"),
    ],
)
def test_a_processing_that_fails_says_why(
    tmp_path: Path, silence: str, unused_tcp_port: int, listens: bool, lease: int, why: str
) -> None:
    url = silence if listens else f"http://127.0.0.1:{unused_tcp_port}"
    site = Site(tmp_path, NUMBER_REQUESTS_LEASE=str(lease))
    shown = site.python(PROCESS_A_NUMBER.replace("WEB", url))
    assert shown.startswith(why)
    assert shown.endswith(f". Its numbers are taken again after {lease} seconds.\n")
    assert site.rows("state") == [("doing",)]
