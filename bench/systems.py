"""The systems under test: what each is made of, and the servers and files one run of it needs."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from . import processes


@dataclass(frozen=True)
class System:
    """A way of running Celery.

    :param app: the module in ``bench.apps`` that holds its application
    :param durability: what its broker promises, in a few words
    :param share: the share of the tasks it is given, less than 1 where it is slow
    :param calls: how many round trips it is given, 0 for as many as the others
    :param server: options of its Redis server, if it has one
    :param records: what the embedded broker keeps of a task
    """

    name: str
    made_of: str
    app: str
    durability: str
    share: float = 1.0
    calls: int = 0
    server: tuple[str, ...] = ()
    records: str = "all"

    @property
    def has_delay_many(self) -> bool:
        """Whether its tasks can be sent in bulk."""
        return self.app == "embedded"

    def worker(self, options: tuple[str, ...]) -> tuple[str, ...]:
        """A worker's command line, as a user of this system would type it."""
        if self.app == "embedded":
            return ("flask", "--app", "bench.apps.embedded", "celery", "worker", *options)
        return ("celery", "-A", "bench.apps.stock", "worker", *options)

    @contextlib.contextmanager
    def running(self, home: Path) -> Iterator[dict[str, str]]:
        """Start what the system needs besides the worker; yields the environment of its processes.

        :param home: an empty directory of its own
        """
        if self.app == "embedded":
            durability = self.durability.partition(":")[0]
            yield {
                "BENCH_HOME": str(home),
                "BENCH_DURABILITY": durability,
                "BENCH_RECORDS": self.records,
            }
        elif self.server:
            with _redis_server(home, self.server) as url:
                yield {"BENCH_BROKER": url, "BENCH_BACKEND": url}
        else:
            broker, results = home / "broker.db", home / "results.db"
            yield {
                "BENCH_BROKER": f"sqla+sqlite:///{broker}",
                "BENCH_BACKEND": f"db+sqlite:///{results}",
            }


EMBEDDED = System(
    "embedded",
    "Celeriac on its embedded broker, results in the same file",
    "embedded",
    "normal: kept when processes die; the last moments may go at power loss",
)
EMBEDDED_FULL = System(
    "embedded, full",
    "the same with CELERIAC_DURABILITY = full",
    "embedded",
    "full: each enqueue is fsynced",
)
EMBEDDED_RESULTS = System(
    "embedded, results",
    "the same with CELERIAC_RECORDS = results",
    "embedded",
    EMBEDDED.durability,
    records="results",
)
REDIS = System(
    "redis",
    "stock Celery, Redis broker and results, Celery's defaults",
    "stock",
    "none: the server keeps nothing on disk",
    server=("--appendonly", "no"),
)
REDIS_FSYNCED = System(
    "redis, fsynced",
    "the same, the server with appendfsync always",
    "stock",
    "full: each enqueue is fsynced",
    server=("--appendonly", "yes", "--appendfsync", "always"),
)
SQLA = System(
    "sqla+sqlite",
    "stock Celery, kombu's sqla+sqlite broker and db+sqlite results, Celery's defaults",
    "stock",
    "SQLite's defaults: each commit is fsynced",
    share=0.1,
    calls=5,
)
ALL = (EMBEDDED, EMBEDDED_FULL, EMBEDDED_RESULTS, REDIS, REDIS_FSYNCED, SQLA)


@contextlib.contextmanager
def _redis_server(home: Path, options: tuple[str, ...]) -> Iterator[str]:
    """A Redis server of our own, on a unix socket, which is faster than a port."""
    socket = home / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket)]
    command += ["--save", "", "--dir", str(home), *options]
    with processes.started(command, log=home / "redis.log") as server:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            _wait_for(client, server)
        yield f"redis+socket://{socket}"


def _wait_for(client: redis.Redis, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with contextlib.suppress(redis.ConnectionError):
            client.ping()
            return
        if server.poll() is not None:
            break
        time.sleep(0.05)
    raise processes.CannotRunError("redis-server did not start")
