"""The half of the channel that sends: one round trip a message, and whoever waits is woken."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from kombu.exceptions import BatchPublishError  # type: ignore[attr-defined]
from kombu.transport import redis
from kombu.utils.json import dumps

from . import scripts
from .scripts import Keys, Scripts

kombu_redis: Any = redis


class RefusedError(BatchPublishError):  # type: ignore[misc]
    """Redis has refused some messages of a batch, and taken the others.

    :param refused: why, by the places of the messages in the batch
    :param count: how many messages it had

    .. versionadded:: 0.1
    """

    def __init__(self, refused: dict[int, Exception], count: int) -> None:
        first = next(iter(refused.values()))
        super().__init__(
            f"Redis has refused {len(refused)} of {count} messages, and taken the others:"
            f" {type(first).__name__}: {first}"
        )
        self.refused = refused


class Batch(kombu_redis.PublishBatch):  # type: ignore[misc]
    """What ``kombu.Producer.batch()`` collects in; it wakes consumers when it is sent.

    Where Redis refuses some messages it says which, as the others are in their queues.
    """

    def __init__(self, channel: Publisher, max_size: int) -> None:
        super().__init__(channel, max_size)
        self._buffered: int
        self._waking: dict[str, int] = {}
        #: How many messages there were, and that of each command that is still to be sent.
        self._count = 0
        self._places: list[int] = []

    def publish(self, message: dict[str, Any], **kwargs: Any) -> Any:
        """Collect a message."""
        self._count += 1
        return super().publish(message, **kwargs)

    def add(self, name: str, *args: Any) -> None:
        """Collect a command of the message."""
        super().add(name, *args)
        self._places.append(self._count - 1)

    def wake(self, queue: str) -> None:
        """Have a consumer of a queue look when this is sent."""
        self._waking[queue] = self._waking.get(queue, 0) + 1

    def flush(self) -> None:
        """Send what was collected.

        :raises RefusedError: not all of it is in the queues
        :raises kombu.exceptions.BatchPublishError: nobody knows what is
        """
        self._check_usable()
        number = self._buffered
        if not number:
            return
        if self._waking:
            keys, waking = self.channel.keys, self._waking
            idle = [keys.idle(queue) for queue in waking]
            # A pipeline of kombu's puts its prefix before no key of EVAL.
            self.pipeline.eval(scripts.WAKE, len(idle), *idle, keys.bell, *waking.values())
            self._waking = {}
        self._buffered = 0
        try:
            # Whoever could not be woken looks again after a while.
            self._check(self._execute()[:number])
        except BaseException as error:
            self._failed = error
            self.pipeline.reset()
            raise
        del self._places[:number]

    def _execute(self) -> list[Any]:
        try:
            answers: list[Any] = self.pipeline.execute(raise_on_error=False)
        except (kombu_redis.redis.DataError, UnicodeError):
            raise  # something has no bytes that could be sent
        except Exception as error:
            raise BatchPublishError(
                f"Redis did not say which messages it took: {type(error).__name__}: {error}"
            ) from error
        return answers

    def _check(self, answers: list[Any]) -> None:
        refused: dict[int, Exception] = {}
        for place, answer in zip(self._places, answers, strict=False):
            if isinstance(answer, Exception):
                refused.setdefault(place, answer)
        if refused:
            raise RefusedError(refused, self._count)


class Publisher(kombu_redis.Channel):  # type: ignore[misc]
    """A kombu channel that wakes who waits for what it sends, and makes clients once.

    .. versionadded:: 0.1
    """

    #: A batch that was not sent as a whole names the messages that were refused.
    says_what_a_batch_sent = True

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        self._clients: tuple[Any, Any, Any] = (None, None, None)
        super().__init__(connection, **kwargs)

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)
        return self._clients_of_pool()[1]

    @cached_property
    def client(self) -> Any:
        """The client to ask whether the server is there; nothing waits in a connection."""
        return self._create_client()

    @property
    def server(self) -> Scripts:
        """The scripts, on this channel's connections."""
        found: Scripts = self._clients_of_pool()[2]
        return found

    def _clients_of_pool(self) -> tuple[Any, Any, Any]:
        if self._clients[0] is not self.pool:
            client = super()._create_client()
            self._clients = (self.pool, client, Scripts(self.plain_client(self.pool)))
        return self._clients

    @staticmethod
    def plain_client(pool: Any) -> Any:
        """A client that puts no prefix before keys: those of the scripts are whole."""
        return kombu_redis.redis.Redis(connection_pool=pool)

    @cached_property
    def keys(self) -> Keys:
        """The names of this broker's keys."""
        prefix = self.global_keyprefix
        return Keys(prefix, prefix + self.unacked_key, prefix + self.unacked_index_key, self.sep)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        batch = kwargs.get("_publish_batch")
        if batch is not None:
            super()._put(queue, message, **kwargs)
            batch.wake(queue)
            return
        keys, prefix = self.keys, self.global_keyprefix
        priority = self._get_message_priority(message, reverse=False)
        where = [prefix + self._q_for_pri(queue, priority), keys.idle(queue)]
        ttl = self._expires.get(queue, 0)
        if ttl:
            where += [prefix + self._q_for_pri(queue, each) for each in self.priority_steps]
        self.server.put(keys=where, args=[dumps(message), keys.bell, ttl])

    def create_publish_batch(self, max_size: int) -> Batch:
        """What ``kombu.Producer.batch()`` collects in."""
        return Batch(self, max_size)
