"""How much starting tasks suffers from clients that follow others live.

``python -m bench.live`` serves an application by one process of gunicorn, has tasks run that say
how far they are, and starts others over HTTP: by turns without anybody who follows, and with 200
streams of Server-Sent Events. The target: at most 10 percent fewer starts.
"""

from __future__ import annotations

import argparse
import http.client
import json
import selectors
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from flask_celeriac.client import Client
from tests.support.processes import free_port, wait_for

from .processes import environment, started

#: How many starts there are with streams, of those without.
TARGET = 0.90


@dataclass(frozen=True)
class Served:
    """The application behind its server."""

    port: int
    server: int

    @property
    def url(self) -> str:
        """Where its API is."""
        return f"http://127.0.0.1:{self.port}/api"

    def cpu(self) -> float:
        """Seconds of processor time that the one process which answers has used."""
        times = psutil.Process(self.server).cpu_times()
        return float(times.user + times.system)


class Followers:
    """Clients that read whatever comes, in a thread of their own."""

    def __init__(self, port: int, paths: list[str]) -> None:
        self.bytes = 0
        self._over = threading.Event()
        self._selector = selectors.DefaultSelector()
        for path in paths:
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            self._selector.register(client, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._over.is_set():
            for key, _ in self._selector.select(0.1):
                client: socket.socket = key.fileobj  # type: ignore[assignment]
                self.bytes += len(client.recv(65536))

    def close(self) -> None:
        """Go."""
        self._over.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()


def main() -> int:
    """Measure; 0 if the target is reached."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--followed", type=int, default=10, help="tasks that run meanwhile")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    options = parser.parse_args()
    ratios, with_streams, without = [], [], []
    with tempfile.TemporaryDirectory(prefix="celeriac-live-") as home:
        running = options.rounds * (2 * options.seconds + 4) + 60
        with serving(Path(home), options.streams, options.followed) as served:
            paths = begin(served, options.followed, running)
            chosen = [paths[number % len(paths)] for number in range(options.streams)]
            turn(served, 2.0)
            for number in range(options.rounds):
                # Which comes first takes turns, too: a machine does not stay as fast as it is.
                order = (True, False) if number % 2 else (False, True)
                found = {live: one(served, chosen if live else [], options) for live in order}
                ratios.append(found[True][0] / found[False][0])
                with_streams.append(found[True])
                without.append(found[False])
    for name, rows in (("nobody follows", without), (f"{options.streams} streams", with_streams)):
        rate, cpu, said = (statistics.median(each) for each in zip(*rows, strict=True))
        print(f"{name:<16} {rate:7.0f} starts/s  {cpu * 1e3:6.2f} ms CPU each  {said:6.0f} KiB/s")
    ratio = statistics.median(ratios)
    print(f"ratio {ratio:.3f}, target {TARGET}: {'yes' if ratio >= TARGET else 'NO'}")
    print("of each round:", ", ".join(f"{each:.3f}" for each in ratios))
    return 0 if ratio >= TARGET else 1


@contextmanager
def serving(home: Path, streams: int, followed: int) -> Iterator[Served]:
    """The application, served by one process, and a worker."""
    port = free_port()
    env = environment({"BENCH_HOME": str(home / "instance"), "FLASK_APP": "bench.apps.live"})
    web = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--workers", "1"]
    web += ["--threads", str(streams + 20), "--worker-connections", str(2 * streams + 100)]
    web += ["--no-control-socket", "--graceful-timeout", "1", "--bind", f"127.0.0.1:{port}"]
    worker = [sys.executable, "-m", "flask", "celery", "worker", "--pool", "threads"]
    worker += ["--concurrency", str(followed), "--without-mingle", "--without-gossip"]
    with (
        started([*web, "bench.apps.live:create_app()"], log=home / "log", environment=env) as up,
        started(worker, log=home / "log", environment=env),
    ):
        client = Client(f"http://127.0.0.1:{port}/api")

        def workers() -> bool:
            try:
                return bool(client.workers())
            except OSError:
                return False

        wait_for(workers, "the server and the worker")
        (child,) = psutil.Process(up.pid).children()
        yield Served(port, child.pid)


def begin(served: Served, count: int, seconds: float) -> list[str]:
    """Start the tasks that are followed; where their events are."""
    client = Client(served.url)
    for _ in range(count):
        client.start("live.long", [seconds])

    def all_running() -> list[str] | None:
        found = [task.id for task in client.tasks(state="running")]
        return found if len(found) == count else None

    return [f"/api/tasks/{each}/events" for each in wait_for(all_running, "the tasks to run")]


def one(served: Served, paths: list[str], options: argparse.Namespace) -> tuple[float, ...]:
    """A turn with these streams: starts a second, processor time of each, KiB a second."""
    followers = Followers(served.port, paths)
    try:
        turn(served, 1.0)
        before = followers.bytes
        rate, cpu = turn(served, options.seconds)
        said = (followers.bytes - before) / 1024 / options.seconds
        if paths and not said:
            raise RuntimeError("the streams are silent")
        return rate, cpu, said
    finally:
        followers.close()


def turn(served: Served, seconds: float) -> tuple[float, float]:
    """Start tasks for a while, one after the other: how many a second, processor time of each."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port)
    headers = {"Content-Type": "application/json"}
    count, cpu, began = 0, served.cpu(), time.monotonic()
    while time.monotonic() - began < seconds:
        body = json.dumps({"args": [count]})
        connection.request("POST", "/api/types/live.started/tasks", body, headers)
        response = connection.getresponse()
        response.read()
        assert response.status == 202, response.status
        count += 1
    took = time.monotonic() - began
    connection.close()
    return count / took, (served.cpu() - cpu) / count


if __name__ == "__main__":
    sys.exit(main())
