"""Run the test suites of kombu and Celery on the embedded broker, and on Redis to compare.

Their sources come from the package index, into a temporary folder, in the versions that are
installed. Each run has a Redis server of its own, on the embedded broker, too: there Celery's tests
note what their tasks did. A test that fails here and passes on Redis is ours to mend.

Call it as ``make upstream``; ``SUITES=kombu`` takes a minute, ``celery`` most of an hour.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import socket
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")
#: What the suites import besides, and the lock does not have.
NEEDED = (
    "pytest-rerunfailures", "pytest-subtests", "pytest-order", "freezegun",
    "pydantic", "cryptography", "django",
)  # fmt: skip
PYTEST = (
    "-p",
    "no:randomly",
    "-p",
    "no:xdist",
    "-p",
    "no:cacheprovider",
    "-q",
    "--tb=short",
    "--disable-warnings",
    "-rfE",
)
OURS = ("-p", "flask_celeriac.broker", "-p", "flask_celeriac.worker.scheduled")
#: Of Celery's integration tests those that are not about one of its other result backends.
CELERY = [
    f"t/integration/test_{name}.py"
    for name in (
        "inspect", "canvas", "tasks", "worker", "group_chains", "beat", "loader", "serialization",
        "security", "logfile_format", "connection_recovery", "upgrade", "events_state_memory_leak",
        "request_backend_down", "mem_leak_in_exception_handling",
    )
]  # fmt: skip
#: What kombu's other transports have as a file each.
TRANSPORT = """
import kombu, pytest
from .common import (
    BaseEventLoop, BaseExchangeTypes, BaseMessage, BasePriority, BaseTimeToLive, BasicFunctionality,
)

@pytest.fixture
def connection(tmp_path):
    return kombu.Connection(f"celeriac:///{tmp_path}/celeriac.db")

@pytest.fixture
def invalid_connection():
    return kombu.Connection("celeriac:////dev/null/celeriac.db")

class test_Basic(BasicFunctionality): pass
class test_ExchangeTypes(BaseExchangeTypes): pass
class test_TimeToLive(BaseTimeToLive): pass
class test_Priority(BasePriority): pass
class test_Message(BaseMessage): pass
class test_EventLoop(BaseEventLoop): pass
"""


@dataclass(frozen=True)
class Run:
    """A suite on a system: what to call pytest with, and where."""

    name: str
    folder: Path
    arguments: list[str]
    env: dict[str, str]


def main() -> int:
    """Run the suites; 0 when nothing fails that Redis does not fail."""
    parser = argparse.ArgumentParser(prog="make upstream", description=__doc__)
    parser.add_argument("suites", nargs="*", help="kombu, celery, or nothing for both")
    suites = parser.parse_args().suites or ["kombu", "celery"]
    with tempfile.TemporaryDirectory(prefix="upstream-") as folder:
        root = Path(folder)
        subprocess.run([*PIP, "install", "--target", str(root / "deps"), *NEEDED], check=True)
        bad = [test for suite in suites for test in compare(suite, root)]
    return 1 if bad else 0


def compare(suite: str, root: Path) -> list[str]:
    """Run a suite on both systems at once; the tests that fail here and pass on Redis."""
    ours, redis = root / f"{suite}-embedded", root / f"{suite}-redis"
    fetch(suite, root, ours, redis)
    with redis_server(root) as one, redis_server(root) as other, ThreadPoolExecutor() as pool:
        plan = celery_runs if suite == "celery" else kombu_runs
        embedded, stock = pool.map(execute, plan(root, (ours, one), (redis, other)))
    failed = sorted(test for test, outcome in embedded.items() if outcome == "failed")
    bad = [test for test in failed if stock.get(test) in {"passed", None}]
    for test in failed:
        print(f"{suite}: {test} fails; on Redis: {stock.get(test, 'not there')}")
    print(f"{suite}: {len(bad)} failures that Redis does not have")
    return bad


def fetch(suite: str, root: Path, *folders: Path) -> None:
    """Unpack the tests of the version that is installed; the code stays the installed one."""
    wanted = f"{suite}=={importlib.metadata.version(suite)}"
    download = [*PIP, "download", "--no-deps", "--no-binary", ":all:", "--dest", str(root), wanted]
    subprocess.run(download, check=True)
    [archive] = root.glob(f"{suite}-*.tar.gz")
    for folder in folders:
        with tarfile.open(archive) as tar:
            tests = [each for each in tar.getmembers() if each.name.split("/")[1:2] == ["t"]]
            tar.extractall(folder, tests, filter="data")


def celery_runs(root: Path, ours: tuple[Path, int], redis: tuple[Path, int]) -> list[Run]:
    """Celery's integration tests, each run with a worker of its own."""
    arguments = ["-p", "celery.contrib.pytest", "--timeout", "90", *CELERY]
    [folder] = ours[0].iterdir()
    canvas = folder / "t/integration/test_canvas.py"
    # It asks for results in Redis, but it is its notes that need one, and there is one.
    guard = r"""not manager\.app\.conf\.result_backend\.startswith\(['"]redis['"]\)"""
    canvas.write_text(re.sub(guard, "False", canvas.read_text()))
    # Some start workers of their own, which have to know the scheme, too.
    (folder / "sitecustomize.py").write_text("import flask_celeriac.broker")
    url = f"celeriac:///{folder}/celeriac.db"
    env = {"TEST_BROKER": url, "TEST_BACKEND": url, "REDIS_PORT": str(ours[1])}
    server = f"redis://127.0.0.1:{redis[1]}"
    stock = {"TEST_BROKER": f"{server}/0", "TEST_BACKEND": f"{server}/1"}
    [other] = redis[0].iterdir()
    return [
        Run("embedded", folder, [*OURS, *arguments], {**env, **paths(root, folder)}),
        Run("redis", other, arguments, {**stock, "REDIS_PORT": str(redis[1]), **paths(root)}),
    ]


def kombu_runs(root: Path, ours: tuple[Path, int], redis: tuple[Path, int]) -> list[Run]:
    """What kombu has for every transport, and its virtual transport's tests on ours."""
    [folder], [other] = ours[0].iterdir(), redis[0].iterdir()
    (folder / "t/integration/test_celeriac.py").write_text(TRANSPORT)
    virtual = "t/unit/transport/virtual/test_base.py"
    text = (folder / virtual).read_text()
    text = text.replace("transport='memory'", "__import__('os').environ['TEST_BROKER']")
    (folder / virtual).write_text(text)
    names = ["Basic", "BaseExchange", "RedisPriority", "RedisMessage", "EventLoop"]
    env = {"TEST_BROKER": f"celeriac:///{folder}/celeriac.db", **paths(root)}
    stock = {"REDIS_6379_TCP": str(redis[1]), **paths(root)}
    mine = [*OURS, "t/integration/test_celeriac.py", virtual]
    theirs = ["t/integration/test_redis.py", virtual, "-k", " or ".join([*names, "virtual"])]
    return [Run("embedded", folder, mine, env), Run("redis", other, theirs, stock)]


def paths(root: Path, *more: Path) -> dict[str, str]:
    """The environment that finds what the suites import."""
    found = os.pathsep.join(map(str, (*more, root / "deps")))
    scripts = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
    return {"PYTHONPATH": found, "PATH": scripts, "REDIS_HOST": "127.0.0.1"}


def execute(run: Run) -> dict[str, str]:
    """Run pytest; what became of each test. A failure that is expected counts as skipped."""
    report = run.folder / "report.xml"
    own = ["-c", os.devnull, "--rootdir", ".", "-o", "python_classes=test_*"]
    command = [sys.executable, "-m", "pytest", *own, *PYTEST, f"--junitxml={report}"]
    with (run.folder / "output.txt").open("w") as output:
        subprocess.run(
            [*command, *run.arguments],
            cwd=run.folder,
            env={**os.environ, **run.env},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    text = (run.folder / "output.txt").read_text()
    print(f"--- {run.name}\n{text[-3000:]}", flush=True)
    if not report.exists():
        sys.exit(f"pytest could not run on {run.name}")
    cases = ET.parse(report).getroot().iter("testcase")
    return {f"{case.get('classname')}.{case.get('name')}": outcome(case) for case in cases}


def outcome(case: ET.Element) -> str:
    """What became of a test."""
    kinds = {child.tag for child in case}
    if kinds & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in kinds else "passed"


@contextmanager
def redis_server(root: Path) -> Iterator[int]:
    """An empty Redis server that nobody else uses; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with subprocess.Popen([*command, "--dir", str(root)], stdout=subprocess.DEVNULL) as server:
        try:
            yield port
        finally:
            server.terminate()


if __name__ == "__main__":
    sys.exit(main())
