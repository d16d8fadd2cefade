"""A message as it is booked, and as it is put back."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celery.utils.time import maybe_iso8601
from redis.exceptions import ResponseError

from . import scripts

if TYPE_CHECKING:
    from .scripts import Keys, Scripts

#: The header that says how often a worker died that had the message.
CRASHES = "celeriac_crashes"

logger = logging.getLogger(__name__)


def ending(queue: str) -> str:
    """What follows a message in kombu's bookings: whoever restores it puts it into this queue."""
    return f', "", {json.dumps(queue)}]'


def restore(
    server: Scripts, keys: Keys, tags: Iterable[str], owner: str, *, dead: bool = False
) -> int:
    """Put messages back at the head of their queues, the oldest first in line.

    What is booked no more is left alone: whoever has it now has a tag of its own.

    :param owner: the process that claimed them.
    :param dead: it died, which is counted in the messages; nothing is done if it lives after all.
    :return: how many were put back, -1 if it lives.
    :raises redis.exceptions.ResponseError: some could not be, and are booked still
    """
    fixed = [keys.unacked, keys.index, keys.claims(owner), keys.workers]
    remaining = sorted(tags, key=_age, reverse=True)
    count, refused = 0, None
    while remaining or dead:
        some, remaining = remaining[: scripts.CHUNK], remaining[scripts.CHUNK :]
        where: list[str] = []
        what: list[str | bytes] = []
        for tag, place, text in _booked(server, keys, some, owner):
            where += [place, keys.idle(keys.queue_of(place))]
            what += [tag, edited(text, crashed=dead)]
        try:
            done = server.restore(
                keys=[*fixed, *where], args=[owner if dead else "", keys.bell, *what]
            )
        except ResponseError as error:
            done, refused = 0, error
        if done < 0:
            return -1
        count += done
        if not remaining:
            break
    if refused:
        raise refused
    return count


def _booked(
    server: Scripts, keys: Keys, tags: list[str], owner: str
) -> Iterator[tuple[str, str, bytes]]:
    """Tag, list and booking; of what is booked no more, the tag."""
    if not tags:
        return
    places = server.client.hmget(keys.claims(owner), tags)
    texts = server.client.hmget(keys.unacked, tags)
    for tag, place, text in zip(tags, places, texts, strict=True):
        if place is None and text is not None:
            yield tag, keys.prefix + json.loads(text)[2], text
        else:
            yield tag, (place or b"").decode(), text or b""


def edited(booking: bytes, *, crashed: bool) -> bytes:
    """The message of a booking, as it is put back: all that it was, and what happened to it."""
    if not booking:
        return b""
    try:
        message = json.loads(booking)[0]
        headers = message.setdefault("headers", {})
        headers["redelivered"] = True
        message["properties"]["delivery_info"]["redelivered"] = True
        if crashed and not _is_waiting(headers):
            headers[CRASHES] = int(headers.get(CRASHES) or 0) + 1
        return json.dumps(message).encode()
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return taken_out(booking)


def taken_out(booking: bytes) -> bytes:
    """What was in the list, to the letter."""
    return booking[1 : booking.rindex(b', "", ')]


def _is_waiting(headers: dict[str, Any]) -> bool:
    """Whether its date has not come, so that no worker can have died of it."""
    eta = headers.get("eta")
    if not eta:
        return False
    due = maybe_iso8601(eta)
    if due is None:
        return False
    if due.tzinfo is None:
        due = due.replace(tzinfo=timezone.utc)
    return due > datetime.now(timezone.utc)


def _age(tag: str) -> tuple[str, int]:
    channel, _, number = tag.rpartition(":")
    return channel, int(number)
