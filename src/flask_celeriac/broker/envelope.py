"""A kombu message as a row, and back: everything but the body as JSON, the body as it is."""

from __future__ import annotations

import json
import time
from datetime import timezone
from typing import Any

from celery.utils.time import maybe_iso8601
from kombu.utils.json import dumps as kombu_dumps
from kombu.utils.json import loads as kombu_loads

from ..plain_json import KOMBU_MARK
from ..plain_json import decode as _decode
from . import stencil
from .queries import Claimed, Row

#: JSON as this room writes it.
encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def pack(queue: str, message: dict[str, Any], priority: int, ttl: float | None) -> Row:
    """The row of a message on its way into a queue.

    :param message: as :meth:`kombu.transport.virtual.Channel.prepare_message` makes it.
    :param ttl: seconds it may stay in the queue, None for as long as it takes.
    """
    headers, properties = message["headers"], message["properties"]
    now = time.time()
    envelope = {
        "headers": headers,
        "properties": properties,
        "content-type": message["content-type"],
        "content-encoding": message["content-encoding"],
    }
    try:
        text = encode(envelope)
    except TypeError:
        text = kombu_dumps(envelope)
    return Row(
        queue,
        priority,
        headers.get("id"),
        headers.get("task"),
        _due(headers.get("eta"), now),
        # Of a task with `expires`, a worker says that it came too late: it has to see it.
        _expires(None if headers.get("expires") else properties.get("expiration"), ttl, now),
        now,
        text,
        _readable(message),
    )


def _readable(message: dict[str, Any]) -> str | bytes:
    """The body, as text if it is text, so that it can be read in the file."""
    body: str | bytes = message["body"]
    is_text = message["content-encoding"] == "utf-8" and not message["headers"].get("compression")
    if is_text and isinstance(body, bytes):
        try:
            return body.decode()
        except UnicodeDecodeError:
            return body
    return body


def _expires(expiration: Any, ttl: float | None, now: float) -> float | None:
    """When a message is too old to be delivered, None for never.

    :param expiration: the message's own limit in milliseconds, as AMQP names it; a string.
    :param ttl: the queue's limit in seconds.
    """
    limits = [] if ttl is None else [ttl]
    if expiration is not None:
        limits.append(float(expiration) / 1000)
    return now + min(limits) if limits else None


def _due(eta: Any, now: float) -> float | None:
    """When a task with this ``eta`` header may run, None for at once."""
    if not eta:
        return None
    moment = maybe_iso8601(eta)
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    due = float(moment.timestamp())
    return due if due > now else None


def unpack(row: Claimed, tag: str) -> dict[str, Any]:
    """The message of a row, in the form :class:`kombu.transport.virtual.Message` takes.

    :param tag: the delivery tag it is acknowledged with.
    """
    try:
        message, properties = _parts(row.envelope, row.task_id)
        delivery_info = properties["delivery_info"]
    except (ValueError, LookupError, TypeError, RecursionError):
        message, properties, delivery_info = _torn(row)
    message["body"] = row.body
    properties["delivery_tag"] = tag
    if row.claims > 1:
        delivery_info["redelivered"] = True
    return message


def _parts(text: str, task_id: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    message = stencil.known(text, task_id)
    if message is None:
        if KOMBU_MARK in text:
            message = _whole(kombu_loads(text))
        else:
            message = _whole(_decode(text))
            stencil.learn(text, task_id, message)
    return message, message["properties"]


def _whole(message: dict[str, Any]) -> dict[str, Any]:
    properties = message["properties"]
    if type(message["headers"]) is not dict or type(properties["delivery_info"]) is not dict:
        raise TypeError
    properties.pop("body_encoding", None)  # in a row a body is as it was sent
    return message


def _torn(row: Claimed) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A message whose envelope is none: nobody reads its body, and a worker puts it away."""
    properties: dict[str, Any] = {"delivery_info": {"exchange": "", "routing_key": None}}
    message = {
        "headers": {"celeriac_envelope": str(row.envelope)[:1000]},
        "properties": properties,
        "content-type": "application/x-torn",
        "content-encoding": "binary",
    }
    return message, properties, properties["delivery_info"]
