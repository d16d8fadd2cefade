"""A message as it waits in the outbox: what a producer was told to publish, as JSON."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kombu import Exchange, Queue
from kombu.compression import compress
from kombu.serialization import dumps as serialize
from kombu.utils.json import dumps as kombu_dumps
from kombu.utils.json import loads

from ..capturing import HEADER

_VERSION = 1
#: JSON as this room writes it: in ASCII, which every database's character set has.
encode = json.JSONEncoder(separators=(",", ":")).encode
#: Options of a publication that mean nothing any more when it is made up for.
_OF_THE_CALL = ("retry", "retry_policy", "timeout", "confirm_timeout", "mandatory", "immediate")


class Packed(NamedTuple):
    """A message as it is stored.

    :param queue: where it goes, as far as that can be said in a word
    :param is_special: whether there is more to it than a text as body
    """

    task_id: str | None
    task: str | None
    queue: str | None
    text: str
    is_special: bool


@dataclass
class Message:
    """A message, and how it is to be published.

    :param options: of :meth:`kombu.Producer.publish`, plain data
    :param chords: what the result store has to be told before, by the ids of the groups
    """

    body: str | bytes
    headers: dict[str, Any]
    options: dict[str, Any]
    declare: list[Any] = field(default_factory=list)
    chords: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def task_id(self) -> str | None:
        """The task's id; None of a message that is no task."""
        return self.headers.get("id")

    @property
    def task(self) -> str | None:
        """The task's name."""
        return self.headers.get("task")

    @property
    def queue(self) -> str | None:
        """Where it goes, as far as that can be said in a word."""
        if self.declare and isinstance(self.declare[0], Queue):
            return str(self.declare[0].name)
        return self.options.get("routing_key") or None

    def pack(self, queues: Any) -> Packed:
        """What is stored.

        :param queues: the application's queues, which are named only
        """
        binary = isinstance(self.body, bytes)
        body = base64.b64encode(self.body).decode() if binary else self.body  # type: ignore[arg-type]
        data = {
            "version": _VERSION,
            "body": body,
            "binary": binary,
            "headers": self.headers,
            "options": self.options,
            "declare": [_packed(entity, queues) for entity in self.declare],
            "chords": self.chords,
        }
        try:
            text = encode(data)
        except TypeError:
            text = kombu_dumps(data)
        return Packed(self.task_id, self.task, self.queue, text, binary or bool(self.chords))

    @classmethod
    def unpack(cls, text: str, queues: Any) -> Message:
        """The message of a stored text.

        :raises ValueError: a newer version of this package wrote it, or something else did
        :raises LookupError: a queue is not there any more
        """
        stored = loads(text)
        if stored.get("version") != _VERSION:
            raise ValueError("a newer Flask-Celeriac has written it: upgrade flask-celeriac here")
        body = base64.b64decode(stored["body"]) if stored["binary"] else stored["body"]
        declare = [_unpacked(entity, queues) for entity in stored["declare"]]
        return cls(body, stored["headers"], stored["options"], declare, stored["chords"])

    def publish(self, producer: Any, created: float, **options: Any) -> None:
        """Publish it.

        :param created: when it was written, in seconds since the epoch
        """
        wanted = dict(self.options)
        if wanted.get("expiration") is not None:
            wanted["expiration"] -= time.time() - created
            if wanted["expiration"] <= 0:
                # A worker says of a task that it came too late; it has to see it.
                wanted["expiration"] = None if self.headers.get("expires") else 0
        declare = list(self.declare)
        producer.publish(
            self.body, headers=dict(self.headers), declare=declare, **{**wanted, **options}
        )


def of_publication(
    body: Any,
    *,
    headers: dict[str, Any] | None = None,
    serializer: str | None = None,
    compression: str | None = None,
    content_type: str | None = None,
    content_encoding: str | None = None,
    declare: Any = None,
    **options: Any,
) -> Message:
    """The message of a publication, serialized now.

    :param options: the other ones of :meth:`kombu.Producer.publish`
    :raises kombu.exceptions.EncodeError: the body cannot be serialized
    """
    headers = {**(headers or {}), HEADER: 1}
    if content_type is None:
        content_type, content_encoding, body = serialize(body, serializer=serializer)
    if compression:
        body, headers["compression"] = compress(body, compression)
    exchange = options.get("exchange")
    declare = list(declare or ())
    if isinstance(exchange, Exchange):
        options["exchange"] = exchange.name
        options["delivery_mode"] = options.get("delivery_mode") or exchange.delivery_mode
    kept = {
        name: value
        for name, value in options.items()
        if name not in _OF_THE_CALL and value is not None
    }
    if isinstance(kept.get("reply_to"), Queue):
        kept["reply_to"] = kept["reply_to"].name
    kept |= {"content_type": content_type, "content_encoding": content_encoding}
    return Message(body, headers, kept, declare)


def _packed(entity: Any, queues: Any) -> dict[str, Any]:
    if isinstance(entity, Queue):
        if queues.get(entity.name) == entity:
            return {"queue": entity.name}
        return {"queue": entity.name, "as": _plain(entity.as_dict(recurse=True))}
    return {"exchange": entity.name, "as": _plain(entity.as_dict())}


def _unpacked(stored: dict[str, Any], queues: Any) -> Any:
    if "exchange" in stored:
        return Exchange(**stored["as"])
    if "as" not in stored:
        return queues[stored["queue"]]
    options = dict(stored["as"])
    exchange = options.pop("exchange", None)
    return Queue(exchange=Exchange(**exchange) if exchange else None, **options)


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    """What of an entity's attributes is set, and can be written."""
    return {
        name: _plain(value) if name == "exchange" else value
        for name, value in attributes.items()
        if value is not None and value != [] and not callable(value) and name != "passive"
    }
