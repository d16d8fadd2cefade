"""Run the test suites of kombu and Celery on the embedded broker, and on Redis to compare.

Their sources come from the package index, into a temporary folder, in the versions that are
installed. Each run has a Redis server of its own, on the embedded broker, too: there Celery's tests
note what their tasks did. A test that fails here and passes on Redis is ours to mend.

Call it as ``make upstream``; ``SUITES=kombu`` takes a minute, ``celery`` a quarter of an hour.
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
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
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
#: Of Celery's integration tests those that are not about one of its other result backends. They
#: wait more than they compute, so that all parts run at once. Those of `worker` are by themselves:
#: one fails after others, and others fail after them, wherever they run.
CELERY = (
    ("canvas",),
    (
        "beat", "connection_recovery", "events_state_memory_leak", "group_chains", "inspect",
        "loader", "logfile_format", "mem_leak_in_exception_handling", "request_backend_down",
        "security", "serialization", "tasks", "upgrade",
    ),
    ("worker",),
)  # fmt: skip
#: Seconds. One of Celery's waits for 140 that nothing comes.
TIMEOUT = "300"
#: What skips tests on other result backends. It is their notes that need a Redis, and there is one;
#: what they look at is any backend's.
GUARDS = (
    r"""not (manager\.)?app\.conf\.result_backend\.startswith\(\(?['"]redis['"](, 'rpc'\))?\)"""
    r"|not isinstance\(manager\.app\.backend, BaseKeyValueStoreBackend\)"
)
#: One that is lost where a task is received before `delay()` has returned.
RACE = r"( *res = non_replaced_task\.delay\(\)\n)( *assertion_result = False\n)"
#: They look for the channels of results in Redis.
CHANNELS = ("-k", "not cancels_subscription")
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
        need(root)
        bad = [test for suite in suites for test in compare(suite, root)]
    return 1 if bad else 0


def need(root: Path) -> None:
    """Install what the suites import besides, with nothing in another version than is installed."""
    kept = {each.name: each.version for each in importlib.metadata.distributions()}
    constraints = root / "constraints.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in kept.items()))
    command = [*PIP, "install", "--constraint", str(constraints), "--target", str(root / "deps")]
    subprocess.run([*command, *NEEDED], check=True)


def compare(suite: str, root: Path) -> list[str]:
    """Run a suite on both systems at once; the tests that fail here and pass on Redis."""
    archive = fetch(suite, root)
    with ExitStack() as servers, ThreadPoolExecutor(2 * len(CELERY)) as pool:
        runs: list[Run] = []
        for part in CELERY if suite == "celery" else ((),):
            ours, redis = (
                (
                    unpack(archive, root / "-".join((suite, *part[:1], system))),
                    servers.enter_context(redis_server(root)),
                )
                for system in ("embedded", "redis")
            )
            plan = celery_runs(root, ours, redis, part) if part else kombu_runs(root, ours, redis)
            runs += plan
        found = list(pool.map(execute, runs))
    embedded, stock = merged(found[::2]), merged(found[1::2])
    for name, outcomes in (("embedded", embedded), ("redis", stock)):
        counts = sorted(Counter(outcomes.values()).items())
        print(f"{suite} on {name}:", ", ".join(f"{count} {what}" for what, count in counts))
    failed = sorted(test for test, outcome in embedded.items() if outcome == "failed")
    bad = [test for test in failed if stock.get(test) in {"passed", None}]
    for test in failed:
        print(f"{suite}: {test} fails; on Redis: {stock.get(test, 'not there')}")
    print(f"{suite}: {len(bad)} failures that Redis does not have", flush=True)
    return bad


def merged(parts: list[dict[str, str]]) -> dict[str, str]:
    """What became of the tests of all parts."""
    return {test: outcome for part in parts for test, outcome in part.items()}


def fetch(suite: str, root: Path) -> Path:
    """Get the sources of the version that is installed."""
    wanted = f"{suite}=={importlib.metadata.version(suite)}"
    download = [*PIP, "download", "--no-deps", "--no-binary", ":all:", "--dest", str(root), wanted]
    subprocess.run(download, check=True)
    [archive] = root.glob(f"{suite}-*.tar.gz")
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the tests; the code stays the installed one."""
    with tarfile.open(archive) as tar:
        tests = [each for each in tar.getmembers() if each.name.split("/")[1:2] == ["t"]]
        tar.extractall(folder, tests, filter="data")
    [inner] = folder.iterdir()
    return inner


def celery_runs(
    root: Path, ours: tuple[Path, int], redis: tuple[Path, int], names: tuple[str, ...]
) -> list[Run]:
    """Celery's integration tests, each run with a worker of its own."""
    files = [f"t/integration/test_{name}.py" for name in names]
    arguments = ["-p", "celery.contrib.pytest", "--timeout", TIMEOUT, *files]
    (folder, port), (other, stock_port) = ours, redis
    for file in files:
        text = re.sub(RACE, r"\2\1", (other / file).read_text())
        (other / file).write_text(text)
        (folder / file).write_text(re.sub(GUARDS, "False", text))
    # Some start workers of their own, which have to know the scheme, too.
    (folder / "sitecustomize.py").write_text("import flask_celeriac.broker")
    url = f"celeriac:///{folder}/celeriac.db"
    server = f"redis://127.0.0.1:{stock_port}"
    both = {"WORKER_LOGLEVEL": "INFO"}  # some look at what a worker logs
    env = {**both, "TEST_BROKER": url, "TEST_BACKEND": url, "REDIS_PORT": str(port)}
    stock = {**both, "TEST_BROKER": f"{server}/0", "TEST_BACKEND": f"{server}/1"}
    stock["REDIS_PORT"] = str(stock_port)
    mine = [*OURS, *CHANNELS, *arguments]
    return [
        Run("embedded", folder, mine, {**env, **paths(root, folder)}),
        Run("redis", other, arguments, {**stock, **paths(root)}),
    ]


def kombu_runs(root: Path, ours: tuple[Path, int], redis: tuple[Path, int]) -> list[Run]:
    """What kombu has for every transport, and its virtual transport's tests on ours."""
    (folder, _), (other, port) = ours, redis
    (folder / "t/integration/test_celeriac.py").write_text(TRANSPORT)
    virtual = "t/unit/transport/virtual/test_base.py"
    text = (folder / virtual).read_text()
    text = text.replace("transport='memory'", "__import__('os').environ['TEST_BROKER']")
    (folder / virtual).write_text(text)
    names = ["Basic", "BaseExchange", "RedisPriority", "RedisMessage", "EventLoop"]
    env = {"TEST_BROKER": f"celeriac:///{folder}/celeriac.db", **paths(root)}
    stock = {"REDIS_6379_TCP": str(port), **paths(root)}
    mine = [*OURS, "t/integration/test_celeriac.py", virtual]
    theirs = ["t/integration/test_redis.py", virtual, "-k", " or ".join([*names, "virtual"])]
    return [Run("embedded", folder, mine, env), Run("redis", other, theirs, stock)]


def paths(root: Path, *more: Path) -> dict[str, str]:
    """The environment that finds what the suites import."""
    found = os.pathsep.join(map(str, (*more, root / "deps")))
    scripts = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
    return {"PYTHONPATH": found, "PATH": scripts, "REDIS_HOST": "127.0.0.1"}


def execute(run: Run) -> dict[str, str]:
    """Run pytest; what became of each test."""
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
    found: dict[str, str] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        test = f"{case.get('classname')}.{case.get('name')}"
        if found.get(test) != "failed":  # a part of it that failed has the same name
            found[test] = outcome(case)
    return found


def outcome(case: ET.Element) -> str:
    """What became of a test."""
    kinds = {child.tag for child in case}
    if kinds & {"failure", "error"}:
        return "failed"
    skipped = case.find("skipped")
    if skipped is None:
        return "passed"
    return "expected to fail" if skipped.get("type") == "pytest.xfail" else "skipped"


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
