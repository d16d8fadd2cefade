"""Messages made of garbage, put straight into a broker: none is lost, none stops a worker.

Each is a dead letter in the end, or was run because nothing is wrong with it.
"""

from __future__ import annotations

import json
import pickle
import random
import string
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis
from flask import Flask
from sqlalchemy import text

from flask_celeriac import Celeriac, sqlite
from flask_celeriac.database import engine_for
from flask_celeriac.operations.sources import records_url
from tests.services.systems import RECORDED, inject, system
from tests.support.processes import clean_environment, running, wait_for
from tests.system.workers import ROOT

#: Messages of each broker at scale 1.
MESSAGES = 3000
#: Bytes by which the memory of a worker may grow meanwhile.
GROWTH = 100 * 2**20

JSON = ("application/json", "utf-8")
PICKLE = ("application/x-python-serialize", "binary")

celeriac = Celeriac()


@celeriac.task(name="garbage.add")
def add(a: Any = 0, b: Any = 0, **more: Any) -> None: ...


@dataclass
class Message:
    """What is put into a queue.

    :param raw: put by the broker's own means, without kombu
    """

    body: str | bytes
    headers: dict[str, Any] = field(default_factory=dict)
    content: tuple[str, str] = JSON
    raw: bool = False


class Planted:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def headers(number: int, **more: Any) -> dict[str, Any]:
    task_id = f"garbage-{number}"
    return {
        "lang": "py", "task": "garbage.add", "id": task_id, "root_id": task_id, "retries": 0,
        "eta": None, "expires": None, "timelimit": [None, None], "argsrepr": "()", **more,
    }  # fmt: skip


def good(chance: random.Random) -> str:
    return json.dumps([[chance.random(), chance.choice(["a", None, [1]])], {}, {}])


def letters(chance: random.Random, longest: int = 40) -> str:
    return "".join(chance.choices(string.printable + "äß€\U0001f600", k=chance.randint(0, longest)))


def wrong(chance: random.Random) -> Any:
    """A value for a header that has no place there."""
    return chance.choice(
        [
            0, -1, 2**31, 1.5, True, "", letters(chance), "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-12:00", [], [None], ["a", "b"], [1, 2, 3], {}, {"a": {"b": [1]}},
            {"task": "x"}, "x" * 100_000, "x" * 300, "a\0b", "a\ud800b", 2**62, [{"task": 5}],
            [{"task": "garbage.add", "options": []}],
        ]
    )  # fmt: skip


def forged(number: int, chance: random.Random) -> Message:
    names = [*headers(number), "group", "group_index", "parent_id", "shadow", "kwargsrepr",
             "origin", "ignore_result", "replaced_task_nesting", "stamps", "stamped_headers",
             "celeriac_labels", "celeriac_signature", "celeriac_url_root", "x-other"]  # fmt: skip
    name, value = chance.choice(names), wrong(chance)
    if name == "task" and isinstance(value, str):
        value = [value]  # a name that nobody knows may be known to a worker that comes later
    if name == "id" and isinstance(value, str):
        value = [value]
    return Message(good(chance), headers(number, **{name: value}))


def shapeless(number: int, chance: random.Random) -> Message:
    parts: list[Any] = [[1, 2], {}, {}]
    parts[chance.randrange(3)] = wrong(chance)
    embedded = {chance.choice(["callbacks", "errbacks", "chain", "chord"]): wrong(chance)}
    body = chance.choice(
        [wrong(chance), parts, parts[:2], [parts], {"args": []}, {"task": "garbage.add"},
         [[1], {}, embedded], {"task": [wrong(chance)], "id": wrong(chance)}]
    )  # fmt: skip
    return Message(json.dumps(body), headers(number) if chance.random() < 0.9 else {})


def bytewise(number: int, chance: random.Random) -> Message:
    torn = bytearray(good(chance).encode())
    for _ in range(chance.randint(1, 4)):
        torn[chance.randrange(len(torn))] = chance.randrange(256)
    body = chance.choice([bytes(torn), chance.randbytes(chance.randint(0, 200)), b"", b"\xff\xfe"])
    return Message(body, headers(number))


def deep(number: int, chance: random.Random) -> Message:
    depth = chance.choice([150, 250, 1500, 200_000])
    opened, closed = chance.choice([("[", "]"), ('{"a":', "}")])
    middle = chance.choice(["1", ""])
    value = opened * depth + middle + closed * chance.choice([0, depth])
    return Message(f"[[{value}], {{}}, {{}}]", headers(number))


def large(number: int, chance: random.Random) -> Message:
    size = chance.choice([2**20, 10 * 2**20])
    filling = chance.choice(['"' + "x" * size + '"', "0," * (size // 2) + "0"])
    return Message(f"[[{filling}], {{}}, {{}}]", headers(number))


def encoded(number: int, chance: random.Random) -> Message:
    """Formats and codecs in which there may be more than there seems to be."""
    bomb = zlib.compress(b"[" * 50_000_000)
    content, body = chance.choice(
        [
            (PICKLE, pickle.dumps([(1, 2), {}, {}])),
            (("application/x-yaml", "utf-8"), b"[[1, 2], {}, {}]"),
            (("application/data", "binary"), b"[[1, 2], {}, {}]"),
            (("text/plain", "utf-8"), b"[[1, 2], {}, {}]"),
            ((letters(chance) or "x", "utf-8"), b"[[1, 2], {}, {}]"),
            (("application/json", "zlib_codec"), bomb),
            (("application/json", "utf-7"), b"+AFs-" * 1000),
            (("application/json", "no-such-codec"), b"[[1, 2], {}, {}]"),
            (("application/json", "utf-16"), "[[1, 2], {}, {}]".encode("utf-16")),
        ]
    )  # fmt: skip
    return Message(body, headers(number), content)


def compressed(number: int, chance: random.Random) -> Message:
    method = chance.choice(["application/x-gzip", "application/x-bz2", "rot13", letters(chance)])
    body = chance.choice([b"no such thing", zlib.compress(good(chance).encode())])
    return Message(body, headers(number, compression=method))


def raw(number: int, chance: random.Random) -> Message:
    body = chance.choice(
        [chance.randbytes(50), b"", b"{}", b"[]", b"null", b"\xff", b'{"body": 5}', b"[" * 5000,
         b'{"headers": [], "properties": {}}', b'{"properties": {"delivery_tag": []}}']
    )  # fmt: skip
    return Message(body, raw=True)


KINDS: list[Callable[[int, random.Random], Message]] = [
    *[forged] * 6, *[shapeless] * 4, *[bytewise] * 3, encoded, encoded, compressed, deep, raw, raw,
]  # fmt: skip


def messages(seed: int, count: int) -> Iterator[Message]:
    chance = random.Random(seed)
    for number in range(count):
        # One in a hundred is large: ten megabytes, for those who can hold them.
        kind = large if number % 100 == 50 else chance.choice(KINDS)
        yield kind(number, chance)


def put(app: Flask, message: Message) -> None:
    """Put it into the broker, past whatever would refuse it."""
    celery = app.extensions["celery"]
    content_type, encoding = message.content
    if celery.conf.broker_url.startswith("celeriac"):
        envelope = {
            "headers": message.headers,
            "properties": {"delivery_info": {"exchange": "", "routing_key": "system"}},
            "content-type": content_type,
            "content-encoding": encoding,
        }
        file = sqlite.file_at(sqlite.path_of(celery.conf.broker_url))
        with file.transaction() as db:
            db.execute(
                "INSERT INTO message (queue, priority, created, envelope, body)"
                " VALUES ('system', 0, 0, ?, ?)",
                (str(message.body) if message.raw else json.dumps(envelope), message.body),
            )
    elif not message.raw or (celery.conf.broker_url.startswith("redis") and not _is_ours(celery)):
        inject(app, message.body, headers=message.headers,
               content_type=content_type, content_encoding=encoding)  # fmt: skip
    elif celery.conf.broker_url.startswith("redis"):
        with redis.Redis.from_url(celery.conf.broker_url) as client:
            client.lpush("system", message.body)
    else:
        with celery.connection_for_write() as connection:
            channel = connection.channel()
            channel.basic_publish(channel.prepare_message(message.body), "", "system")


def _is_ours(celery: Any) -> bool:
    """Whether the transport is; kombu's stops at what is no JSON, and has lost it then."""
    with celery.connection_for_write() as connection:
        return type(connection.transport).__module__.startswith("flask_celeriac")


def states_of(app: Flask) -> dict[str, int]:
    """How many of the garbage are in which state, as far as it has come to its end."""
    url = records_url(app.extensions["celery"])
    assert url is not None
    with engine_for(url).connect() as connection:
        rows = connection.execute(
            text(
                "SELECT state, count(*) FROM celeriac_record WHERE finished IS NOT NULL AND"
                " (state = 'dead' OR task_id LIKE 'garbage-%') GROUP BY state"
            )
        )
        return {row[0]: row[1] for row in rows}


def swallowed(app: Flask, seed: int, count: int, say: Callable[[str], None]) -> list[str]:
    """Put garbage while a worker works, and wait until each message is accounted for."""
    celery = app.extensions["celery"]
    for number, message in enumerate(messages(seed, count), 1):
        put(app, message)
        if number % 100 == 0 or number == count:
            try:
                add.delay(number).get(timeout=60)  # alive, and not choking on what came before
                say(f"{number}/{count} messages")
            except Exception as error:  # noqa: BLE001 - whatever it is, the worker does not work
                return [f"after {number} messages, no task runs: {error!r}"]
    try:
        wait_for(lambda: sum(states_of(app).values()) >= count, "not all are accounted for", 60)
    except AssertionError:
        pass
    states = states_of(app)
    assert celery.conf.task_default_queue == "system"
    return [] if sum(states.values()) == count else [f"{count} were put, there are {states}"]


def run(folder: Path, seed: int, scale: float, say: Callable[[str], None]) -> list[str]:
    """Garbage for a real worker on each broker; what went wrong."""
    wrong = []
    for name in RECORDED:
        place = folder / name
        place.mkdir(parents=True)
        with system(name, place, celeriac) as app:
            found = _with_worker(app, place, seed, max(20, round(MESSAGES * scale)), say)
            wrong += [f"{name}, seed {seed}: {text}" for text in found]
    return wrong


def _with_worker(
    app: Flask, place: Path, seed: int, count: int, say: Callable[[str], None]
) -> list[str]:
    config = {key: app.config.get(key) for key in ("CELERY", "CELERIAC_DATABASE")}
    environment = clean_environment(
        GARBAGE=json.dumps([app.instance_path, config]), PYTHONPATH=str(ROOT)
    )
    command = [sys.executable, "-m", "celery", "-A", "tests.faults.garbage_app", "worker",
               "--pool=solo", "--without-gossip", "--without-mingle", "-l", "CRITICAL"]  # fmt: skip
    with running(*command, cwd=place, env=environment) as worker:
        add.delay().get(timeout=60)
        process = psutil.Process(worker.process.pid)
        before = process.memory_info().rss
        wrong = swallowed(app, seed, count, say)
        if worker.process.poll() is not None:
            return [*wrong, f"the worker ended:\n{worker.output[-3000:]}"]
        growth = process.memory_info().rss - before
        say(f"the worker grew by {growth / 2**20:.0f} MiB: {states_of(app)}")
        if growth > GROWTH:
            wrong.append(f"the worker grew by {growth / 2**20:.0f} MiB")
        worker.stop()
    return wrong
