"""Redis itself is killed under load, and comes back with all it had written."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from celery import Celery
from kombu import pools
from kombu.exceptions import OperationalError

from tests.broker.redis.apps import OPTIONS, make_ours
from tests.broker.redis.own_server import OwnServer
from tests.system.ledger import Ledger, Story
from tests.system.workers import Worker, wait_for

KILLS = 20
LEASE = 3


def run(folder: Path, seed: int, scale: float, say: Callable[[str], None]) -> list[str]:
    """SIGKILL to Redis while two workers run tasks and a producer sends them."""
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ledger"
    Ledger(path).close()
    server = OwnServer(folder).start()
    workers: list[Worker] = []
    app = make_ours(server.url)
    stop = threading.Event()
    sender = threading.Thread(target=send, args=(app, path, seed, stop))
    try:
        for number in range(2):
            worker = Worker(
                server.url, "-c", "2", "-n", f"w{number}", log=folder / f"{number}.log",
                ledger=path, module="tests.broker.redis.app",
                **{OPTIONS: json.dumps({"lease": LEASE})},
            )  # fmt: skip
            workers.append(worker)
            worker.wait_ready()
        sender.start()
        kills = max(2, round(KILLS * scale))
        for _ in range(kills):
            time.sleep(chance.uniform(0.5, 3))
            server.kill()
            time.sleep(chance.choice([0, 1, LEASE + 1]))
            server.start()
            ends = len(Story.read(path).ends)
            wait_for(lambda before=ends: len(Story.read(path).ends) > before + 5, "it goes on", 60)  # type: ignore[misc]
        stop.set()
        sender.join()
        wait_for(lambda: not Story.read(path).lost, "all have ended", 90)
        for worker in workers:
            worker.stop()
        with server.client() as client:
            left = client.keys("unacked*") + client.keys("celeriac.*")
    finally:
        stop.set()
        for worker in workers:
            worker.end()
        server.kill()
        app.close()
        pools.reset()
    story = Story.read(path)
    say(
        f"{kills} kills of the server, {len(story.acked)} tasks, lost {len(story.lost)}, "
        f"run again {story.duplicates}, at once {len(story.overlaps())}, left {left}"
    )
    wrong = [f"seed {seed}: lost {sorted(story.lost)[:10]}"] if story.lost else []
    return wrong + ([f"seed {seed}: left behind {left}"] if left else [])


def send(app: Celery, path: Path, seed: int, stop: threading.Event) -> None:
    """Send tasks, and write down those that Redis has."""
    chance = random.Random(seed)
    ledger = Ledger(path)
    number = 0
    while not stop.wait(0.005):
        number += 1
        try:
            app.send_task("work", (number, chance.choice([1, 5, 20, 400])))
        except OperationalError:  # perhaps it has it, perhaps not
            continue
        ledger.write("acked", number)
    ledger.close()
