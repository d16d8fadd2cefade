"""Servers of our own, on free loopback ports, that may be killed and started again."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import redis

from tests.support.processes import free_port
from tests.system.workers import wait_for

#: Debian's own command would change the user, and its files.
RABBITMQ = Path("/usr/lib/rabbitmq/bin")
PATIENCE = 90.0


class Server:
    """A server process group in a folder, which keeps what it wrote there when it is killed."""

    url: str

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self.folder, self.address, self.port = folder, address, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def answers(self) -> bool:
        raise NotImplementedError

    #: Who runs it; None for whoever runs this.
    user: str | None = None

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.environment(),
                user=self.user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._is_up, f"{self.command()[0]} in {self.folder}", PATIENCE)

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
        return self.answers()

    def kill(self) -> None:
        """SIGKILL to all of it; returns when it is gone."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.kill()


class Redis(Server):
    """A Redis server.

    :param aof: ``always``, ``everysec``, or ``none`` for a server that keeps nothing on disk.
    """

    def __init__(self, folder: Path, aof: str = "everysec", address: str = "127.0.0.1") -> None:
        super().__init__(folder, address)
        self.aof = aof
        self.url = f"redis://{address}:{self.port}/0"

    def command(self) -> list[str]:
        keep = ["--appendonly", "no"]
        if self.aof != "none":
            keep = ["--appendonly", "yes", "--appendfsync", self.aof]
        where = ["--bind", self.address, "--port", str(self.port), "--protected-mode", "no"]
        return ["redis-server", *where, "--save", "", "--dir", str(self.folder), *keep]

    def answers(self) -> bool:
        with redis.Redis(self.address, self.port, socket_timeout=5) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:  # not there, or still reading its file
                return False


class RabbitMQ(Server):
    """A RabbitMQ node of its own, with a port mapper of its own."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        super().__init__(folder, address)
        self.name = f"celeriac-{secrets.token_hex(4)}@localhost"
        self.mapper_port, self.distribution_port = free_port(), free_port()
        self.url = f"amqp://guest:guest@{address}:{self.port}//"
        (folder / "home").mkdir(exist_ok=True)
        (folder / "plugins").write_text("[].\n")
        (folder / "node.conf").write_text("loopback_users = none\n")
        self._mapper = subprocess.Popen(
            ["epmd", "-port", str(self.mapper_port), "-address", "127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def command(self) -> list[str]:
        return [str(RABBITMQ / "rabbitmq-server")]

    def environment(self) -> dict[str, str]:
        kept = {key: os.environ[key] for key in os.environ if not key.startswith("RABBITMQ_")}
        return {
            **kept,
            "HOME": str(self.folder / "home"),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": self.address,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "node"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}"
            ),
            "ERL_EPMD_PORT": str(self.mapper_port),
        }

    def answers(self) -> bool:
        try:
            socket.create_connection((self.address, self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def control(self, *words: str) -> str:
        """What ``rabbitmqctl`` says to a command."""
        done = subprocess.run(
            [str(RABBITMQ / "rabbitmqctl"), "-q", *words],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kill(self) -> None:
        super().kill()
        # The port mapper takes a moment to see that its node is gone; no other may have the name.
        time.sleep(0.2)

    def close(self) -> None:
        super().close()
        self._mapper.kill()
        self._mapper.wait()


class PostgreSQL(Server):
    """A PostgreSQL server that prepares transactions, which most are not set up for."""

    def __init__(self) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="celeriac-postgresql-")))
        #: It refuses to run as root.
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)
        self.url = f"postgresql://postgres@{self.address}:{self.port}/postgres"
        initdb = [str(_postgresql() / "initdb"), "-D", str(self.folder / "data"), "-N"]
        subprocess.run(
            [*initdb, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"],
            cwd=self.folder,
            user=self.user,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )

    def command(self) -> list[str]:
        options = {
            "listen_addresses": self.address,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_prepared_transactions": "64",
        }
        where = [str(_postgresql() / "postgres"), "-D", str(self.folder / "data")]
        return [*where, *(f"--{name}={value}" for name, value in options.items())]

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def close(self) -> None:
        """End it, so that nothing of it is left in shared memory either."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _postgresql() -> Path:
    """Where the newest PostgreSQL's programs are, by Debian's way to install them."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))


def can_prepare() -> bool:
    """Whether a PostgreSQL server of our own can be started."""
    try:
        return (_postgresql() / "initdb").exists()
    except ValueError:  # there is none
        return False


def missing(broker: str) -> str | None:
    """Why a broker's server cannot be started here, None if it can."""
    if broker == "redis" and not shutil.which("redis-server"):
        return "redis-server is not there"
    if broker == "rabbitmq" and not (
        (RABBITMQ / "rabbitmq-server").exists() and shutil.which("epmd")
    ):
        return "rabbitmq-server is not there"
    return None


@contextlib.contextmanager
def server(broker: str, folder: Path, **options: str) -> Iterator[Server | None]:
    """The server a broker needs, for the length of a ``with`` block."""
    if broker == "embedded":
        yield None
        return
    made = Redis(folder, **options) if broker == "redis" else RabbitMQ(folder, **options)
    try:
        made.start()
        yield made
    finally:
        made.close()
