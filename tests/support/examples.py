"""Run an example as its README says, on each broker, and talk to it over HTTP."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import requests

from tests.support import pieces
from tests.support.processes import (
    PATIENCE,
    Running,
    clean_environment,
    free_port,
    listens,
    running,
    wait_for,
)

if TYPE_CHECKING:
    from typing_extensions import Self

EXAMPLES = Path(__file__).parents[2] / "examples"
#: What running an example leaves in its folder; a copy begins without it.
LEFT_BY_RUNNING = shutil.ignore_patterns(
    "__pycache__", "instance", "secrets", "*.db", "*.pid", "celerybeat-schedule*"
)
#: Nothing listens on the first port of a machine.
CLOSED_PORT = 1


@dataclass(frozen=True)
class System:
    """A broker and where results go.

    :param name: ``embedded``, ``redis`` or ``rabbitmq``.
    :param environ: the environment variables that choose them.
    """

    name: str
    environ: dict[str, str] = field(default_factory=dict)


SYSTEMS = ("embedded", "redis", "rabbitmq")


@contextmanager
def new_system(name: str) -> Iterator[System]:
    """An empty system, for the length of a ``with`` block."""
    with ExitStack() as stack:
        if name == "embedded":
            yield System(name)
            return
        broker = pieces.redis_database() if name == "redis" else pieces.rabbitmq_vhost()
        yield named_by_url(
            name, stack.enter_context(broker), stack.enter_context(pieces.redis_database())
        )


def dead_system(name: str) -> System:
    """``redis`` or ``rabbitmq``, where nothing listens; results are on a dead Redis too."""
    dead = f"redis://127.0.0.1:{CLOSED_PORT}"
    broker = {
        "redis": f"{dead}/0",
        "rabbitmq": f"amqp://guest:guest@127.0.0.1:{CLOSED_PORT}//",
    }[name]
    return named_by_url(name, broker, f"{dead}/1")


def named_by_url(name: str, broker: str, results: str) -> System:
    return System(name, {"CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": results})


class Example:
    """A copy of an example's folder, and its processes; they end with the ``with`` block.

    :param name: the folder in ``examples/``, or the path of another one.
    :param into: where the copy goes.
    :param system: the broker and where results go.
    :param app: the Flask application, as for ``flask --app``.
    :param settings: more environment variables, for every process.
    :ivar port: a free one, for the web server.
    :ivar broker: the broker's URL; None for the embedded one.
    """

    def __init__(
        self, name: str | Path, into: Path, system: System, *, app: str, **settings: str
    ) -> None:
        self.folder = into / Path(name).name
        shutil.copytree(EXAMPLES / name, self.folder, ignore=LEFT_BY_RUNNING)
        self.environ = clean_environment(**system.environ, **settings)
        self.app = app
        self.broker = system.environ.get("CELERY_BROKER_URL")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._processes = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._processes.__exit__(kind, error, traceback)

    def start(self, *command: str, **settings: str) -> Running:
        """Start a command in the folder; ``python``, ``flask`` and ``celery`` are the tests' own.

        :param settings: environment variables for this process alone.
        """
        program, *arguments = command
        if program == "python":
            command = (sys.executable, *arguments)
        elif program in ("flask", "celery"):
            command = (sys.executable, "-m", program, *arguments)
        environ = self.environ | settings
        return self._processes.enter_context(running(*command, cwd=self.folder, env=environ))

    def web(self, *command: str, **settings: str) -> Running:
        """Start the web server and wait until it answers.

        :param command: ``flask --app ... run`` on our port, unless it is given.
        """
        port = str(self.port)
        web = self.start(
            *command or ("flask", "--app", self.app, "run", "--port", port), **settings
        )

        def answers() -> bool:
            assert web.process.poll() is None, f"{web} ended:\n{web.output}"
            return listens(self.port)

        wait_for(answers, f"{web} to listen on port {port}")
        return web

    def worker(self, *options: str, celery: str | None = None, **settings: str) -> Running:
        """Start a worker and wait until it is ready.

        :param celery: start it with ``celery -A``, naming this, instead of ``flask celery``.
        """
        # It would wait a second for the answers of other workers.
        alone = ("--without-mingle", "--without-gossip")
        worker = self.start(*self._celery("worker", celery), *alone, *options, **settings)
        worker.sees(" ready.")
        return worker

    def beat(self, *options: str, celery: str | None = None, **settings: str) -> Running:
        """Start beat and wait until it runs; as :meth:`worker`."""
        beat = self.start(*self._celery("beat", celery), *options, **settings)
        beat.sees("beat: Starting...")
        return beat

    def _celery(self, command: str, celery: str | None) -> tuple[str, ...]:
        if celery is None:
            return ("flask", "--app", self.app, "celery", command)
        return ("celery", "-A", celery, command, "--loglevel", "INFO")

    @property
    def broker_url(self) -> str:
        """Where another client finds the broker, once the example has used it."""
        if self.broker is not None:
            return self.broker
        (file,) = self.folder.rglob("celeriac.db")
        return f"celeriac:///{file}"

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.request("POST", path, **options)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """As ``requests.request``, for a path of the web server."""
        return requests.request(method, self.url + path, **{"timeout": PATIENCE, **options})
