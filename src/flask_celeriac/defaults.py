"""What an application's Celery is configured with: what the user set, over our defaults."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import brokers
from .directories import make_private
from .errors import StorageError

if TYPE_CHECKING:
    from .celery_app import FlaskCelery
    from .config import Settings

#: Seconds in which a worker that is told to stop at once lets its tasks come to their end. What
#: stops containers kills after ten seconds, and what is killed has not given its tasks back.
SOFT_SHUTDOWN = 5.0

#: Defaults that differ from Celery's on every broker: a task is taken off the queue when it has
#: ended, not when it starts, so that one whose worker was killed runs again.
SAFE = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "worker_soft_shutdown_timeout": SOFT_SHUTDOWN,
    "broker_connection_retry_on_startup": True,
    "worker_hijack_root_logger": False,
    # What is no task it knows is not thrown away.
    "worker_consumer": "flask_celeriac.worker.consumer:Consumer",
}

#: Besides, on one kind of broker.
BY_BROKER: dict[brokers.Kind, dict[str, Any]] = {
    "rabbitmq": {
        # The server has given the task to another worker by then. Redis has not: it waits for
        # the acknowledgement, which is possible on a new connection.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
    },
}

#: Beneath the user's ``broker_transport_options``, key by key.
TRANSPORT_OPTIONS: dict[brokers.Kind, dict[str, Any]] = {
    "redis": {"socket_connect_timeout": 10, "socket_timeout": 30, "socket_keepalive": True},
    "rabbitmq": {"confirm_publish": True},
}

#: Where the result backend is ours: a task whose result cannot be stored waits until it can be,
#: instead of being taken off the queue without one; and a task that has succeeded is not run again
#: when its message comes a second time.
OUR_RESULTS = {"result_backend_always_retry": True, "worker_deduplicate_successful_tasks": True}

#: Celery's result backends that ours take the place of, by the scheme of their URL.
BACKENDS = {
    "redis": "flask_celeriac.contrib.redis:RedisBackend",
    "rediss": "flask_celeriac.contrib.redis:RedisBackend",
    "sentinel": "flask_celeriac.contrib.redis:SentinelBackend",
}


def configure(celery_app: FlaskCelery, settings: Settings, instance_path: str) -> None:
    """Give a new Celery application its configuration.

    What the user set becomes the application's own (``conf.changes``), which everything else gives
    way to; our defaults are worked out when Celery first reads its configuration, so that they
    also give way to what is set on ``celery.conf`` or by ``config_from_object`` until then.

    :param instance_path: the Flask application's instance folder
    """
    celery_app.conf.update(settings.celery)
    celery_app.add_defaults(lambda: _defaults(celery_app, settings, instance_path))
    loader: Any = celery_app.loader
    loader.override_backends = {**loader.override_backends, **BACKENDS}


def _defaults(celery_app: FlaskCelery, settings: Settings, instance_path: str) -> dict[str, Any]:
    conf: Any = celery_app.conf
    # Celery's own default is one dict that all applications share.
    ours: dict[str, Any] = {"beat_schedule": {}, **SAFE}
    broker_url = conf.broker_read_url or conf.broker_write_url
    if not broker_url:
        broker_url = ours["broker_url"] = _embedded_url(_folder(instance_path))
    broker = brokers.kind_of_url(broker_url, conf.broker_transport)
    ours.update(BY_BROKER.get(broker, {}))
    transport_options = TRANSPORT_OPTIONS.get(broker, {})
    if broker == "embedded":
        folder = _folder(instance_path)
        _make_folder(folder)
        transport_options = {"durability": settings.options.durability}
        ours["beat_schedule_filename"] = os.path.join(folder, "beat-schedule")
        ours["result_backend"] = broker_url
    else:
        ours["result_backend"] = "flask_celeriac.records.disabled:DisabledBackend"
    if settings.options.database:
        ours["result_backend"] = f"celeriac+{settings.options.database}"
    if _is_ours(conf.result_backend or ours["result_backend"]):
        ours.update(OUR_RESULTS)
    _lay_under(celery_app, ours, transport_options)
    # Celery lays these over what config_from_object() brings.
    return {name: value for name, value in ours.items() if not conf.value_set_for(name)}


def _lay_under(
    celery_app: FlaskCelery, ours: dict[str, Any], transport_options: dict[str, Any]
) -> None:
    """Put our transport options beneath the user's, instead of having them replaced as a whole."""
    conf: Any = celery_app.conf
    given: dict[str, Any] = {}
    if conf.value_set_for("broker_transport_options"):
        given = conf.broker_transport_options or {}
        conf.update(broker_transport_options={**transport_options, **given})
    else:
        ours["broker_transport_options"] = dict(transport_options)
    celery_app.own_transport_options = {
        key: value for key, value in transport_options.items() if key not in given
    }


def _make_folder(folder: str) -> None:
    """Make the folder of the file: beat opens its schedule there before anything opens the file."""
    try:
        make_private(folder)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be made ({error.strerror or error}): give"
            " Flask(instance_path=...) a folder that this user may write, or set CELERY_BROKER_URL"
        ) from error


def _is_ours(result_backend: object) -> bool:
    """Whether results go through a backend of ours, which retries in workers only."""
    scheme = str(result_backend).partition(":")[0]
    return scheme.partition("+")[0] in {"celeriac", *BACKENDS}


def _folder(instance_path: str) -> str:
    return os.path.join(instance_path, "celeriac")


def _embedded_url(folder: str) -> str:
    from .sqlite import url_of  # opening SQLite is no part of importing this package

    return url_of(os.path.join(folder, "celeriac.db"))
