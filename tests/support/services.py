"""The servers and programs some tests need: where they are, whether they work, how to get them.

``python -m tests.support.services`` prints the names of those that are missing, one a line: that
is what decides which ones a CI run has to install and start.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import redis
import requests
import sqlalchemy
from kombu import Connection


@dataclass(frozen=True)
class Service:
    """One kind of server.

    :param variable: the environment variable that names another one than the default.
    :param default: where the server is on a developer's machine.
    :param start: a command that starts one.
    :param probe: raises when the server at a URL cannot be used by the tests.
    """

    name: str
    variable: str
    default: str
    start: str
    probe: Callable[[str], object]

    @property
    def url(self) -> str:
        return os.environ.get(self.variable) or self.default

    def missing(self) -> str | None:
        """Why the tests cannot use it, with the way out, on one line; None when they can."""
        try:
            self.probe(self.url)
        except Exception as error:  # noqa: BLE001 - each driver has errors of its own
            parts = urlsplit(self.url)
            place = f"{parts.hostname}:{parts.port}"
            reason = " ".join(str(error).split())[:120]
            return (
                f"{self.name} cannot be used at {place} ({reason}): start it with `{self.start}`, "
                f"or name yours in {self.variable}"
            )
        return None


@dataclass(frozen=True)
class Program:
    """A program that tests start.

    :param variable: the environment variable that names another one than the default.
    :param default: its command.
    :param install: a command that installs it.
    """

    name: str
    variable: str
    default: str
    install: str

    @property
    def path(self) -> str:
        command = os.environ.get(self.variable) or self.default
        return shutil.which(command) or command

    def missing(self) -> str | None:
        """Why the tests cannot use it, with the way out, on one line; None when they can."""
        try:
            subprocess.run(
                [self.path, "--version"],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            reason = " ".join(str(error).split())[:120]
            return (
                f"{self.name} cannot be started ({reason}): install it with `{self.install}`, "
                f"or name yours in {self.variable}"
            )
        return None


def probe_sql(url: str) -> None:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=timeout(url))
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))


def timeout(url: str) -> dict[str, int]:
    return {"connect_timeout": 5} if url.startswith(("postgresql", "mysql")) else {}


def probe_redis(url: str) -> None:
    with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
        client.ping()


def probe_rabbitmq(url: str) -> None:
    with Connection(url, connect_timeout=5) as connection:
        connection.connect()
    rabbitmq_api(url, "GET", "/vhosts")


def rabbitmq_api(url: str, method: str, path: str, json: object = None) -> requests.Response:
    """Ask the management plugin, which is how each test gets a virtual host of its own."""
    parts = urlsplit(url)
    port = os.environ.get("CELERIAC_TEST_RABBITMQ_API_PORT", "15672")
    answer = requests.request(
        method,
        f"http://{parts.hostname}:{port}/api{path}",
        auth=(parts.username or "guest", parts.password or "guest"),
        json=json,
        timeout=10,
    )
    answer.raise_for_status()
    return answer


POSTGRES = Service(
    "PostgreSQL",
    "CELERIAC_TEST_POSTGRES_URL",
    "postgresql+psycopg://postgres@127.0.0.1:5432/postgres",
    "docker run -d -p 5432:5432 -e POSTGRES_HOST_AUTH_METHOD=trust postgres",
    probe_sql,
)
MARIADB = Service(
    "MariaDB",
    "CELERIAC_TEST_MARIADB_URL",
    "mysql+pymysql://root@127.0.0.1:3306/mysql",
    "docker run -d -p 3306:3306 -e MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1 mariadb",
    probe_sql,
)
REDIS = Service(
    "Redis",
    "CELERIAC_TEST_REDIS_URL",
    "redis://127.0.0.1:6379",
    "docker run -d -p 6379:6379 redis",
    probe_redis,
)
RABBITMQ = Service(
    "RabbitMQ",
    "CELERIAC_TEST_RABBITMQ_URL",
    "amqp://guest:guest@127.0.0.1:5672",
    "docker run -d -p 5672:5672 -p 15672:15672 rabbitmq:management",
    probe_rabbitmq,
)
CHROMIUM = Program(
    "Chromium",
    "CELERIAC_TEST_CHROMIUM",
    "chromium",
    "apt-get install chromium fonts-liberation",
)
SERVICES = (POSTGRES, MARIADB, REDIS, RABBITMQ)
PROGRAMS = (CHROMIUM,)


if __name__ == "__main__":
    print("\n".join(each.name for each in (*SERVICES, *PROGRAMS) if each.missing()))
