"""Workers on Redis are killed under load, as :mod:`tests.system.kill` kills those on the file.

``python -m tests.faults.redis_kills`` runs it alone.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import redis
from celery import Celery

from tests.broker.redis.apps import OPTIONS, make_ours
from tests.support.pieces import redis_database
from tests.system import producer
from tests.system.kill import complaints
from tests.system.killing import AIMS, CONCURRENCY, KillTest
from tests.system.ledger import Ledger
from tests.system.tasks import LEDGER, URL
from tests.system.workers import ROOT, Worker, environment

#: Seconds after which a worker is taken to be dead; by default it is twenty.
LEASE = 2
TASKS = 5_000
#: Seconds between two kills: what was killed is to run again in between.
EVERY = 4.0


class RedisKillTest(KillTest):
    """Two workers on Redis, a producer, and kills."""

    def __init__(self, url: str, directory: Path, seed: int, tasks: int, pool: str) -> None:
        super().__init__(directory, seed, tasks, pool=pool)
        self.url = url

    def _produce(self) -> subprocess.Popen[bytes]:
        words = [str(self.seed), str(self.tasks), str(self.longest)]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.redis_kills", "produce", *words],
            cwd=ROOT,
            env=environment(self.url, self.ledger),
        )

    def _start_worker(self) -> None:
        self.started += 1
        concurrency = 1 if self.pool == "solo" else CONCURRENCY
        self.workers.append(
            Worker(
                self.url, "-P", self.pool, "-c", str(concurrency), "-n", f"kill-{self.started}@%h",
                log=self.directory / f"worker-{self.started}.log", ledger=self.ledger,
                module="tests.broker.redis.app", **{OPTIONS: json.dumps({"lease": LEASE})},
            )
        )  # fmt: skip

    def _missing_results(self) -> list[str]:
        return []

    def _look_into(self) -> dict[str, object]:
        with redis.Redis.from_url(self.url) as server:
            return {
                "integrity": "ok",
                "claimed": server.hlen("unacked") + server.zcard("unacked_index"),
                "messages": server.llen("celery"),
            }


def produce(app: Celery, seed: int, count: int, longest: float) -> None:
    """Send the tasks, and write down each one that Redis has."""
    chance = random.Random(seed)
    ledger = Ledger(os.environ[LEDGER])
    for number in range(count):
        app.send_task(
            "work", (number, chance.uniform(0, longest)), task_id=producer.task_id(seed, number)
        )
        ledger.write("acked", number)


def run(folder: Path, seed: int, scale: float, say: Callable[[str], None]) -> list[str]:
    """SIGKILL to workers on Redis, of each pool."""
    wrong = []
    for pool in AIMS:
        directory = folder / pool
        directory.mkdir(parents=True)
        with redis_database() as url:
            test = RedisKillTest(url, directory, seed, max(50, round(TASKS * scale)), pool)
            outcome = test.run(every=EVERY, patience=1800.0)
        say(outcome.report())
        wrong += [f"{pool}, seed {seed}: {text}" for text in complaints(outcome)]
    return wrong


if __name__ == "__main__":
    if sys.argv[1:2] == ["produce"]:
        numbers = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
        produce(make_ours(os.environ[URL]), *numbers)
    else:
        with tempfile.TemporaryDirectory(prefix="celeriac-kill-") as temporary:
            found = run(Path(temporary), random.randrange(1_000_000), 0.06, print)
        print("\n".join(found) or "nothing lost")
        raise SystemExit(bool(found))
