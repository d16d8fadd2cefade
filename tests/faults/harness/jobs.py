"""What the processes of a system do: a worker, a producer, what is asked of its application."""

from __future__ import annotations

import base64
import importlib
import random
import time
from typing import Any

from celery import chord
from kombu import Producer

from tests.faults.harness import tasks
from tests.faults.harness.setup import Setup

#: Seconds a producer waits after it was refused.
PAUSE = 0.05
QUEUE = "celery"


def app() -> Any:
    return importlib.import_module(Setup.read().app).app


def worker(*options: str) -> None:
    if lease := Setup.read().lease:
        from flask_celeriac.broker import membership

        membership.LEASE = lease
    app().worker_main(["worker", "-l", "INFO", *options])


def prepare() -> None:
    module = importlib.import_module(Setup.read().app)
    module.prepare()


def produce(
    seed: int,
    first: int,
    count: int,
    longest: float,
    rate: float,
    name: str,
    payload: int,
    options: dict[str, Any],
) -> None:
    """Enqueue, and write down what was attempted and what was acknowledged.

    Prints how long the slowest call took, in seconds.

    :param longest: milliseconds of a task.
    :param rate: tasks a second, 0 for as many as possible.
    :param payload: characters that the message carries besides.
    :param options: of ``apply_async``.
    """
    chance = random.Random(seed)
    task = app().tasks[name]
    begun, slowest = time.monotonic(), 0.0
    for number in range(first, first + count):
        if rate:
            time.sleep(max(0.0, begun + (number - first) / rate - time.monotonic()))
        args = [number, chance.uniform(0, longest), *(["x" * payload] if payload else [])]
        tasks.note("attempt", number)
        called = time.monotonic()
        try:
            task.apply_async(args, task_id=tasks.task_id(seed, number), **options)
        except Exception as error:  # noqa: BLE001 - refused in whatever words: it does not count
            print(f"task {number} was refused: {error!r}", flush=True)
            time.sleep(PAUSE)
        else:
            tasks.note("acked", number)
        slowest = max(slowest, time.monotonic() - called)
        print(f"slowest {slowest:.2f}", flush=True)


def revoke(seed: int, numbers: list[int]) -> None:
    """Take tasks back, as Celery's users do."""
    app().control.revoke([tasks.task_id(seed, number) for number in numbers])


def chords(seed: int, first: int, count: int, size: int, longest: float) -> None:
    """Enqueue chords; the number of a body is that of its chord."""
    known = app()
    chance = random.Random(seed)
    for number in range(first, first + count):
        header = []
        for member in range(number * size, (number + 1) * size):
            tasks.note("attempt", member)
            part = known.tasks["part"].s(member, chance.uniform(0, longest))
            header.append(part.set(task_id=tasks.task_id(seed, member)))
        tasks.note("attempt", tasks.BODIES + number)
        body = known.tasks["body"].s(number=number)
        body.set(task_id=tasks.task_id(seed, tasks.BODIES + number))
        chord(header, app=known)(body)
        for member in range(number * size, (number + 1) * size):
            tasks.note("acked", member)
        tasks.note("acked", tasks.BODIES + number)


def deliver_twice(seed: int, share: float) -> None:
    """Put some of the messages that wait into the queue once more. Prints how many."""
    chance, again = random.Random(seed), 0
    with app().connection_for_write() as connection:
        channel = connection.default_channel
        producer, taken = Producer(channel), []
        while (message := channel.basic_get(QUEUE)) is not None:
            taken.append(message if not isinstance(message, dict) else channel.Message(message))
        for message in taken:
            twice = chance.random() < share
            again += twice
            for _ in range(1 + twice):
                properties = {
                    key: message.properties[key]
                    for key in ("correlation_id", "reply_to", "priority")
                    if message.properties.get(key) is not None
                }
                producer.publish(
                    message.body,
                    routing_key=QUEUE,
                    content_type=message.content_type,
                    content_encoding=message.content_encoding,
                    headers=message.headers,
                    serializer=None,
                    delivery_mode=2,
                    **properties,
                )
            message.ack()
    print(again)


#: A pickle that would make a file, were it loaded.
PICKLE = b"cposix\nsystem\n(S'touch %s'\ntR."


def garbage(seed: int, count: int, trap: str) -> None:
    """Send messages that nobody would send. Prints how many.

    :param trap: a file that is there when one of them was unpickled.
    """
    chance, sent = random.Random(seed), 0
    deep = b"[" * 50_000 + b"]" * 50_000
    good = b'[[1, 1.0], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
    headers: dict[str, Any] = {"lang": "py", "task": "work", "id": "garbage", "argsrepr": "()"}
    kinds: list[tuple[bytes, str, str, dict[str, Any]]] = [
        (PICKLE % trap.encode(), "application/x-python-serialize", "binary", headers),
        (deep, "application/json", "utf-8", headers),
        (b"\xff\xfe\x00 no text", "application/json", "utf-8", headers),
        (b"{}", "application/json", "utf-8", headers),
        (good, "application/json", "no-such-encoding", headers),
        (good, "application/no-such-type", "utf-8", headers),
        (good, "application/json", "utf-8", {**headers, "eta": "tomorrow", "retries": "x"}),
        (good, "application/json", "utf-8", {**headers, "id": 7, "timelimit": "no"}),
        (good, "application/json", "utf-8", {}),
        (base64.b64encode(chance.randbytes(300_000)), "text/plain", "utf-8", {}),
    ]
    with app().connection_for_write() as connection:
        producer = Producer(connection.default_channel)
        for number in range(count):
            body, content_type, encoding, heads = kinds[number % len(kinds)]
            own = {"id": f"garbage-{seed}-{number}"} if heads.get("id") == "garbage" else {}
            try:
                producer.publish(
                    body,
                    routing_key=QUEUE,
                    content_type=content_type,
                    content_encoding=encoding,
                    headers={**heads, **own},
                    delivery_mode=2,
                )
            except Exception as error:  # noqa: BLE001 - it is garbage
                print(f"refused: {error!r}")
            else:
                sent += 1
    print(sent)


def hold(seconds: float) -> None:
    """Hold the embedded file's write lock, as a process that was stopped in the middle does."""
    from flask_celeriac import sqlite

    url = str(app().conf.broker_url)
    with sqlite.file_at(sqlite.path_of(url)).transaction():
        print("holding", flush=True)
        time.sleep(seconds)


def commands(*lines: str) -> None:
    """Run commands in this process, which has the embedded file open all the while.

    Prints each that had this process lose its lock on the file's shared memory, or write to a
    log that was deleted.
    """
    import os
    import shlex

    module = importlib.import_module(Setup.read().app)
    runner = module.flask_app.test_cli_runner()
    assert module.app.AsyncResult("nobody's").state == "PENDING"
    path = os.path.join(module.flask_app.instance_path, "celeriac", "celeriac.db-shm")
    before = _locks(path)
    for line in lines:
        answer = runner.invoke(args=["celery", *shlex.split(line)])
        if answer.exception is not None and not isinstance(answer.exception, SystemExit):
            print(f"{line}: {answer.exception!r}", flush=True)
        if before and not _locks(path):
            print(f"{line}: this process lost its lock", flush=True)
        links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
        deleted = [
            os.readlink(link)
            for link in links
            if os.path.islink(link) and os.readlink(link).endswith("-wal (deleted)")
        ]
        if deleted:
            print(f"{line}: {deleted}", flush=True)
    print(f"locks {before}", flush=True)


def _locks(path: str) -> int:
    """How many locks this process holds on a file, as the kernel says."""
    import os
    from pathlib import Path

    inode = os.stat(path).st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return sum(
        f" {os.getpid()} " in line and line.split()[5].endswith(f":{inode}") for line in lines
    )
