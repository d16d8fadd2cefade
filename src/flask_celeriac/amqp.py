"""How an application's messages are made, and which connections they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from celery.app import amqp
from kombu import connection
from kombu.utils.imports import symbol_by_name

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
