"""The process that has what a consumer was given, and one that takes it to be dead."""

from __future__ import annotations

import redis

from flask_celeriac.contrib.redis_broker import member
from tests.broker.messages import Receiver


def owner(receiver: Receiver) -> member.Member:
    found: member.Member = receiver.channel._member
    return found


def take_over(server: redis.Redis, receiver: Receiver) -> int:
    """What a living process does with what a dead one had."""
    me = owner(receiver)
    server.zadd(me.keys.workers, {me.id: 1})
    return member.recover(me._server, me.keys, me.id)
