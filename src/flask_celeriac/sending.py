"""Sending a task so that the caller soon knows whether it was sent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from amqp import exceptions as amqp
from kombu import exceptions
from kombu.exceptions import LimitExceeded, OperationalError

from . import brokers, patience
from .errors import StorageError

if TYPE_CHECKING:
    from .celery_app import FlaskCelery

#: kombu's stubs know only a part of its errors.
kombu_exceptions: Any = exceptions

_REDIS = {"socket_connect_timeout": patience.CONNECT, "socket_timeout": patience.ANSWER}
#: redis-py asks a sentinel ten times unless told otherwise.
_SENTINEL = {**_REDIS, "retry": None}

#: What a server that does not answer is given, in the words of each transport.
_LIMITS: dict[brokers.Kind, dict[str, Any]] = {
    "redis": {**_REDIS, "sentinel_kwargs": _SENTINEL},
    "rabbitmq": {"read_timeout": patience.ANSWER, "write_timeout": patience.ANSWER},
}

#: What RabbitMQ says to a wrong password or virtual host, which kombu lets through.
_REFUSED = (amqp.ConnectionError, amqp.AccessRefused)

#: How kombu connects where nobody says how often to try.
_RETRIES = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}


def connection_options(app: FlaskCelery, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a connection on which a caller who cannot wait sends.

    :param options: those of the caller, which win, as does what the user configured
    """
    conf: Any = app.conf
    configured = conf.broker_transport_options  # before ours, which are known when it is read
    ours = app.own_transport_options
    users = {k: value for k, value in configured.items() if k not in ours or ours[k] != value}
    limits = {**_RETRIES, **_LIMITS.get(brokers.kind_of(conf), {}), **users}
    if isinstance(users.get("sentinel_kwargs"), dict):
        limits["sentinel_kwargs"] = {**_SENTINEL, **users["sentinel_kwargs"]}
    found = {**options, "transport_options": {**limits, **(options.get("transport_options") or {})}}
    if not conf.value_set_for("broker_connection_timeout"):
        found.setdefault("connect_timeout", patience.CONNECT)
    return found


@contextmanager
def briefly(app: FlaskCelery, options: dict[str, Any]) -> Iterator[None]:
    """Let the block send a task with these options, in a moment or not at all.

    :param options: the named options of ``send_task``; they get a connection where there is none,
        and a limit to its retries
    :raises kombu.exceptions.OperationalError: the broker or the result store is out of reach
    """
    options["retry_policy"] = {"errback": patience.give_up, **(options.get("retry_policy") or {})}
    if brokers.kind_of(app.conf) == "rabbitmq" and not options.get("confirm_timeout"):
        options["confirm_timeout"] = patience.CONFIRM
    _import_what_is_needed(app, options)
    with patience.short(), _plainly():
        if any(options.get(key) for key in ("producer", "publisher", "connection")):
            yield
            return
        with _connection(app) as connection:
            options["connection"] = connection
            try:
                yield
            except (OperationalError, OSError, *_REFUSED):
                # An answer that comes late must not be taken for that to the next question, and
                # the server is not asked for its leave, as closing it does.
                connection.collect()
                raise


def store_soon(app: FlaskCelery, put: Callable[[Any], object], rows: Any) -> None:
    """Write to the embedded file, in a moment or not at all.

    :raises kombu.exceptions.OperationalError: it was not written
    """
    token = None if app.patient else patience.begin()
    try:
        put(rows)
    except StorageError as error:
        raise OperationalError(str(error)) from error
    finally:
        patience.end(token)


@contextmanager
def producer(app: FlaskCelery) -> Iterator[Any]:
    """A producer of messages, whose errors are kombu's also when it sends many at once.

    :raises kombu.exceptions.OperationalError: the broker is out of reach
    """
    options: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        if app.patient:
            found = stack.enter_context(app.producer_or_acquire())
        else:
            stack.enter_context(briefly(app, options))
            found = app.amqp.Producer(options["connection"], auto_declare=False)
        connection: Any = found.connection
        lost = (*connection.connection_errors, *connection.channel_errors)
        errors = (kombu_exceptions.BatchPublishError, *lost)
        try:
            yield found
        except OperationalError:
            raise
        except errors as error:
            raise OperationalError(str(error)) from error


@contextmanager
def relaying(app: FlaskCelery) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A producer of messages that were made before, and the options of their publication.

    Nothing that goes wrong leaves a connection behind that others would have to deal with.

    :raises kombu.exceptions.OperationalError: the broker is out of reach
    """
    options: dict[str, Any] = {}
    with briefly(app, options):
        connection: Any = options["connection"]
        found = app.amqp.Producer(connection, auto_declare=False)
        try:
            yield found, {"confirm_timeout": options.get("confirm_timeout")}
        except (OperationalError, OSError, *_REFUSED):
            raise  # looked after by the caller
        except BaseException:
            connection.collect()
            raise


def _import_what_is_needed(app: FlaskCelery, options: dict[str, Any]) -> None:
    """Have the transport and the result backend loaded: that is no time spent on waiting."""
    pool: Any = app.pool
    _ = pool.connection.transport
    if not options.get("ignore_result"):
        _ = app.backend


@contextmanager
def _plainly() -> Iterator[None]:
    """Raise kombu's error for what kombu lets through."""
    try:
        yield
    except OperationalError:
        raise
    except (StorageError, *_REFUSED) as error:
        raise OperationalError(str(error)) from error


def _connection(app: FlaskCelery) -> Any:
    """A connection from the pool; a pool of producers would wait for one without end."""
    conf: Any = app.conf
    timeout = patience.LAST_TRY
    if conf.value_set_for("broker_pool_acquire_timeout"):
        timeout = conf.broker_pool_acquire_timeout
    try:
        return app.pool.acquire(block=True, timeout=timeout)
    except LimitExceeded as error:
        raise OperationalError(
            f"All {conf.broker_pool_limit} connections to the broker are in use: raise "
            "broker_pool_limit to the number of threads that send tasks."
        ) from error
