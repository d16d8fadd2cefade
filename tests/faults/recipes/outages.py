"""T9, T10, T11, T12: servers that are killed, networks that break, replies that are dropped."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.faults.harness.proxy import Proxy
from tests.faults.harness.servers import RabbitMQ
from tests.faults.harness.session import CONCURRENCY, PROMISE, Session
from tests.faults.recipes.kills import WORKERS, busy_worker

#: Tasks a second while servers come and go.
RATE = 40


def _load(session: Session, seconds: float) -> None:
    for _ in range(WORKERS):
        session.ready(session.start_worker())
    session.produce(round(seconds * RATE), 50.0, rate=RATE)
    busy_worker(session)


def _pause(session: Session, seconds: float) -> None:
    due = time.monotonic() + seconds
    session.wait(lambda: time.monotonic() > due, "it is time", seconds + 5)


def _excuse(session: Session) -> None:
    """What ran when the connection broke may run again, and what had ended but was not noted."""
    session.excused += WORKERS * CONCURRENCY * 2


def kill_server(session: Session, scale: float) -> None:
    """T9, T10: SIGKILL to the server under load, and a start on what it had written."""
    server = session.place.server
    assert server is not None
    outages = max(2, round((20 if session.place.system.broker == "redis" else 10) * scale))
    session.may_overlap = True
    _load(session, outages * 8)
    for _ in range(outages):
        _pause(session, session.chance.uniform(1.0, 3.0))
        server.kill()
        _excuse(session)
        _pause(session, session.chance.uniform(0.1, 1.5))
        server.start()
        session.outage(time.monotonic())


def stop_application(session: Session, scale: float) -> None:
    """T10: ``rabbitmqctl stop_app`` and ``start_app`` under load."""
    server = session.place.server
    assert isinstance(server, RabbitMQ)
    outages = max(2, round(20 * scale))
    session.may_overlap = True
    _load(session, outages * 8)
    for _ in range(outages):
        _pause(session, session.chance.uniform(1.0, 3.0))
        server.control("stop_app")
        _excuse(session)
        _pause(session, session.chance.uniform(0.1, 1.5))
        server.control("start_app")
        session.outage(time.monotonic())


def alarm(session: Session, scale: float) -> None:
    """T10: no memory, so that whoever publishes is not answered."""
    server = session.place.server
    assert isinstance(server, RabbitMQ)
    outages = max(1, round(10 * scale))
    session.may_overlap = True
    _load(session, outages * 15)
    for _ in range(outages):
        _pause(session, 2.0)
        server.control("set_vm_memory_high_watermark", "0.0001")
        _excuse(session)
        _pause(session, 8.0)
        server.control("set_vm_memory_high_watermark", "0.4")
        session.outage(time.monotonic())
    session.settle()
    session.cell.notes.append(f"slowest call {session.slowest():.1f} s")


def drop_replies(session: Session, scale: float) -> None:
    """T12: a delivery that the server has sent does not arrive, and the connection breaks."""
    server = session.place.server
    assert server is not None
    drops = max(5, round(500 * scale))
    session.may_overlap = True
    with Proxy((server.address, server.port), b"fault-", drops, session.chance.random()) as proxy:
        url = re.sub(r":\d+/", f":{proxy.port}/", server.url)
        setup = replace(session.place.setup, broker=url)
        for _ in range(WORKERS):
            session.ready(session.start_worker(setup=setup))
        session.produce(drops * 10, 5.0)

        def done() -> bool:
            waiting = time.monotonic() - session.last_news > 20
            return proxy.dropped >= drops or waiting or not (session.producing or session.missing)

        session.wait(done, "they were dropped", 3600)
        proxy.chance = 0.0
        session.outages = proxy.dropped
        session.excused += proxy.dropped * CONCURRENCY
        session.settle()
        session.stop_workers()


@contextlib.contextmanager
def namespace(_: Path) -> Iterator[dict[str, Any]]:
    """A network of its own for workers, and a cable to it."""
    if os.geteuid() or not shutil.which("ip"):
        yield {"not_tested": "a network namespace needs root and `ip`"}
        return
    name, net = f"faults-{os.getpid()}", f"10.213.{os.getpid() % 250}"
    here, there = f"f{os.getpid()}a", f"f{os.getpid()}b"
    inside = ("netns", "exec", name, "ip")
    try:
        _ip("netns", "add", name)
        _ip("link", "add", here, "type", "veth", "peer", "name", there)
        _ip("link", "set", there, "netns", name)
        _ip("addr", "add", f"{net}.1/30", "dev", here)
        _ip("link", "set", here, "up")
        _ip(*inside, "addr", "add", f"{net}.2/30", "dev", there)
        _ip(*inside, "link", "set", there, "up")
        _ip(*inside, "link", "set", "lo", "up")
    except (OSError, subprocess.SubprocessError) as error:
        _remove(name, here)
        yield {"not_tested": f"a network namespace cannot be made: {error}"}
        return
    try:
        extra = {"namespace": name, "cable": here}
        yield {"server": {"address": f"{net}.1"}, "records": "sqlite", "extra": extra}
    finally:
        _remove(name, here)


def _remove(name: str, here: str) -> None:
    for words in (("link", "del", here), ("netns", "del", name)):
        subprocess.run(["ip", *words], capture_output=True, check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, check=True)


def partition(session: Session, scale: float) -> None:
    """T11: the worker's network is gone in the middle of tasks, without a word, and comes back."""
    name, cable = session.place.extra["namespace"], session.place.extra["cable"]
    setup = session.place.setup
    if session.place.system.broker == "rabbitmq":
        setup = replace(setup, celery={**setup.celery, "broker_heartbeat": 10})
    session.may_overlap = True
    session.ready(session.start_worker(setup=setup, namespace=name))
    session.ready(session.start_worker(setup=setup))
    partitions = max(1, round(10 * scale))
    lengths = [30.0, 120.0] if scale >= 1 else [30.0]
    session.produce(round(partitions * 45 * 2), 2000.0, rate=2)
    cut_off = session.workers[0]
    for _ in range(partitions):
        session.wait(lambda: session.busy(cut_off), "it is busy")
        moment = time.monotonic()
        _ip("link", "set", cable, "down")
        session.follow()
        session.hit(moment, session.busy(cut_off))
        session.kills += 1
        _excuse(session)
        _pause(session, session.chance.choice(lengths))
        _ip("link", "set", cable, "up")
        moment = time.monotonic()
        back = session.wait(
            lambda: [
                line
                for lines in session.account.starts.values()
                for line in lines
                if line.moment > moment and line.parent == cut_off.pid  # noqa: B023 - at once
            ],
            "the worker takes tasks again",
            PROMISE,
        )
        took = min(line.moment for line in back) - moment
        session.cell.notes.append(f"takes tasks again after {took:.0f} s")
