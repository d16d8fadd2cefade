"""How an application's messages are made, and which connections they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from celery.app import amqp
from kombu import connection, serialization
from kombu.utils.imports import symbol_by_name
from kombu.utils.objects import cached_property

from . import redaction, signing
from .brokers import uses_claims

#: Celery's stubs know only a part of it.
CeleryAMQP: Any = amqp.AMQP
KombuConnection: Any = connection.Connection
KombuPooledConnection: Any = connection.PooledConnection
KombuPool: Any = connection.ConnectionPool

_KOMBUS_REDIS = ("kombu.transport.redis", "Transport")


class _ThroughClaims:
    """What a connection and a pooled one have in common."""

    def get_transport_cls(self) -> Any:
        """The class of the transport."""
        mine: Any = self
        found = super().get_transport_cls()  # type: ignore[misc]
        is_kombus = (found.__module__, found.__qualname__) == _KOMBUS_REDIS
        if is_kombus and uses_claims(mine.transport_options):
            return symbol_by_name("flask_celeriac.contrib.redis_broker.transport:Transport")
        return found


class FlaskConnection(_ThroughClaims, KombuConnection):  # type: ignore[misc]
    """kombu's, which reaches Redis through the transport that loses nothing with a worker.

    Under the same URLs, unless ``broker_transport_options`` say ``{"claims": False}``.

    .. versionadded:: 0.1
    """

    def Pool(self, limit: int | None = None, **kwargs: Any) -> Any:  # noqa: N802 - kombu's name
        """A pool of such connections."""
        return _Pool(self, limit, **kwargs)

    def __eqhash__(self) -> Any:
        # A stock Celery in this process that has the same settings has pools of its own.
        return (*super().__eqhash__(), __name__)


class _PooledConnection(_ThroughClaims, KombuPooledConnection):  # type: ignore[misc]
    pass


_pooled: Callable[..., Any] = cast("Any", _PooledConnection)


class _Pool(KombuPool):  # type: ignore[misc]
    def new(self) -> Any:
        return _pooled(self, **dict(self.connection._info(resolve=False)))


class FlaskAMQP(CeleryAMQP):  # type: ignore[misc]
    """Celery's, made for :class:`~flask_celeriac.celery_app.FlaskCelery`.

    .. versionadded:: 0.1
    """

    Connection = BrokerConnection = FlaskConnection

    def as_task_v2(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        *more: Any,
        **options: Any,
    ) -> Any:
        """A message of Celery's protocol 2, which says of its arguments what others may see."""
        if options.get("argsrepr") is None or options.get("kwargsrepr") is None:
            told = redaction.told(self.app, name, args or (), kwargs or {})
            for key, text in zip(("argsrepr", "kwargsrepr"), told, strict=True):
                if options.get(key) is None:
                    options[key] = text
        return super().as_task_v2(task_id, name, args, kwargs, *more, **options)

    @cached_property
    def send_task_message(self) -> Any:
        """What sends a message that was made; see :class:`celery.app.amqp.AMQP`."""
        send = CeleryAMQP.send_task_message.func(self)

        def send_task_message(producer: Any, name: str, message: Any, **options: Any) -> Any:
            if self.app.recorder.is_needed:
                # A broker that drops what has expired tells nobody: a worker does, who sees
                # `expires`.
                options.pop("expiration", None)
            return send(_Checking(producer, name, self.app), name, message, **options)

        return send_task_message


class _Checking:
    """A producer that serializes a task's message itself, to look at it and to sign it.

    This is the last moment before it is sent: routers, stamps and receivers of
    ``before_task_publish`` had their say.
    """

    def __init__(self, producer: Any, name: str, app: Any) -> None:
        self._producer = producer
        self._name = name
        self._app = app

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._producer, attribute)

    def publish(self, body: Any, **options: Any) -> Any:
        """Publish a task's message, or an event about it."""
        headers = options.get("headers")
        if headers is None or "id" not in headers or options.get("content_type"):
            return self._producer.publish(body, **options)
        policy = self._app.policy
        serializer = options.pop("serializer", None) or self._producer.serializer
        content_type, encoding, data = serialization.dumps(body, serializer=serializer)
        policy.check_format(self._name, content_type)
        if len(data) > policy.harmless:
            policy.check(self._name, data, content_type)
        if policy.signing_keys:
            signed = signing.Signed(
                headers, (content_type, encoding), data, options.get("reply_to")
            )
            headers[signing.HEADER] = signed.sign(policy.signing_keys)
        return self._producer.publish(
            data, content_type=content_type, content_encoding=encoding, **options
        )
