"""Tasks whose message Redis has lost are sent once more, from their record.

Redis forgets what it had not written when it was killed, as its settings allow, and whatever was
removed behind our back. Their records are open, and no message is theirs: what is found so twice is
sent again under its id.
"""

from __future__ import annotations

import json
import logging
import random
import time
from typing import TYPE_CHECKING, Any

from kombu.utils.imports import symbol_by_name

from .. import brokers, lost_tasks
from .periodic import Periodic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..celery_app import FlaskCelery
    from ..records.gate_queries import Open

#: Seconds between two looks, and up to how many where nothing is ever missing.
INTERVAL = 10.0
SELDOM = 120.0
#: Seconds a task has to be as it is before it is missed.
AGE = 30.0
#: Messages and records that are looked through.
MOST = 20_000
#: Messages read at a time.
BATCH = 500

logger = logging.getLogger(__name__)


class Reconciler(Periodic):
    """Worker step that looks after lost messages, where tasks are recorded and Redis has them.

    .. versionadded:: 0.1
    """

    thread_name = "celeriac-reconciler"

    def is_needed(self, app: FlaskCelery) -> bool:
        """Whether tasks are recorded, and their broker may forget them."""
        conf: Any = app.conf
        kind = brokers.kind_of_url(str(conf.broker_read_url), conf.broker_transport)
        recorder = getattr(app, "recorder", None)
        return recorder is not None and recorder.is_needed and kind == "redis"

    def rounds(self, app: FlaskCelery) -> Iterator[float]:
        """Look again and again."""
        missing: dict[str, Open] = {}
        pause = INTERVAL
        while True:
            yield random.uniform(0.9, 1.1) * pause
            try:
                before, missing = missing, look(app, missing)
            except Exception as error:  # noqa: BLE001 - whatever is out of reach comes back
                logger.warning("Lost messages cannot be looked for just now: %s", error)
                continue
            pause = INTERVAL if missing or before else min(SELDOM, pause * 2)


def look(app: FlaskCelery, missed: dict[str, Open]) -> dict[str, Open]:
    """Send what was missing before and is missing still.

    :param missed: what was missing at the last look
    :return: what is missing now, for the next look
    """
    found = lost_tasks.open_tasks(app, time.time() - AGE, MOST)
    if len(found) >= MOST:
        logger.info("More than %d tasks are open: none is looked after", MOST)
        return {}
    waiting = [each for each in found if lost_tasks.may_be_lost(app, each)]
    if not waiting:
        return {}
    present = messages(app)
    if present is None:
        return {}
    missing = {each.task_id: each for each in waiting if each.task_id not in present}
    twice = [each for each in missing.values() if missed.get(each.task_id) == each]
    for each in lost_tasks.not_running(app, twice):
        try:
            has_ended = lost_tasks.note_end(app, each)
        except Exception as error:  # noqa: BLE001 - each result backend has errors of its own
            logger.warning(
                "Whether task %s has ended cannot be read just now: %s", each.task_id, error
            )
            continue
        del missing[each.task_id]
        if not has_ended:
            lost_tasks.send_again(app, each)
    return missing


def messages(app: FlaskCelery) -> set[str] | None:
    """The ids of the tasks that Redis has messages of, None where these are too many."""
    found: set[str] = set()
    with app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        # kombu's own client puts the prefix before the keys of some commands, not of these.
        client = symbol_by_name("redis:Redis")(connection_pool=channel.client.connection_pool)
        keys, taken = _places(channel, [str(each.name) for each in app.amqp.queues.values()])
        number = sum(client.llen(key) for key in keys) + client.hlen(taken)
        if number > MOST:
            logger.info("Redis has %d messages: lost ones are not looked for", number)
            return None
        # In this order: a message goes from its list to those that workers have.
        for key in keys:
            found.update(_ids(_listed(client, key)))
        found.update(_ids(pair[1] for pair in client.hscan_iter(taken, count=BATCH)))
    return found


def _places(channel: Any, names: list[str]) -> tuple[list[str], str]:
    """The whole keys of the lists that queues are in, and of what workers have."""
    prefix = channel.global_keyprefix
    keys = [
        f"{prefix}{name}{channel.sep}{step}" if step else f"{prefix}{name}"
        for name in names
        for step in channel.priority_steps
    ]
    return keys, f"{prefix}{channel.unacked_key}"


def _listed(client: Any, key: str) -> Iterator[bytes]:
    for first in range(0, MOST + BATCH, BATCH):
        some = client.lrange(key, first, first + BATCH - 1)
        yield from some
        if len(some) < BATCH:
            return


def _ids(texts: Iterator[bytes]) -> Iterator[str]:
    for text in texts:
        try:
            message = json.loads(text)
            message = message[0] if isinstance(message, list) else message
            yield str(message["headers"]["id"])
        except (ValueError, LookupError, TypeError):
            continue
