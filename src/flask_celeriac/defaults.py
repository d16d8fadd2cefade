"""What an application's Celery is configured with: what the user set, over our defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celery.app.utils import detect_settings  # type: ignore[attr-defined]

from . import brokers
from .directories import make_private
from .errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """Give a Celery application its configuration.

    What the user set becomes the application's own (``conf.changes``), which everything else gives
    way to; our defaults are worked out when Celery reads its configuration, so that they also give
    way to what is set on ``celery.conf`` or by ``config_from_object`` until then.

    :param instance_path: the Flask application's instance folder
    """
    conf: Any = celery_app.conf
    conf.update(settings.celery)
    layer = celery_app.layer = Layer(celery_app, settings, instance_path)
    if celery_app.configured:  # somebody has read it before there was an application
        layer.add()
    loader: Any = celery_app.loader
    loader.override_backends = {**loader.override_backends, **BACKENDS}


class Layer:
    """An application's defaults, which lie beneath its configuration each time that is read.

    :param instance_path: the Flask application's instance folder
    """

    def __init__(self, celery_app: FlaskCelery, settings: Settings, instance_path: str) -> None:
        self._app = celery_app
        self._settings = settings
        self._instance_path = instance_path

    def add(self) -> None:
        """Lay them beneath a configuration that was read already."""
        conf: Any = self._app.conf
        completed, ours = self._work_out(conf)
        conf.update(completed)
        conf.add_defaults(ours)

    def beneath(self, read: Mapping[str, Any] | None, changes: dict[str, Any]) -> Beneath:
        """A configuration that Celery has read and is about to use, with them beneath it.

        :param read: None where nothing was
        :param changes: what is set on ``conf`` besides
        """
        # That old and new names are mixed, Celery says.
        conf = detect_settings(read or {}, dict(changes), prefix=self._app.namespace)
        completed, ours = self._work_out(conf)
        found = Beneath(read, changes, ours)
        given = {name: changes[name] for name in completed if name in changes}
        changes.update(completed)
        has_it = self._app.on_after_configure

        def settle(**_: Any) -> None:
            # Celery has its configuration, and reads the user's again should there be another.
            has_it.disconnect(settle)
            found.list_all()
            for name in completed:
                changes.pop(name, None)
            changes.update(given)

        has_it.connect(settle, weak=False)
        return found

    def _work_out(self, conf: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the user set and we complete, and our defaults for the rest."""
        # Celery's own default is one dict that all applications share.
        ours: dict[str, Any] = {"beat_schedule": {}, **SAFE}
        completed: dict[str, Any] = {}
        options = self._settings.options
        broker_url = conf.broker_read_url or conf.broker_write_url
        if not broker_url:
            broker_url = _embedded_url(_folder(self._instance_path))
            # None is no other broker.
            (completed if conf.value_set_for("broker_url") else ours)["broker_url"] = broker_url
        broker = brokers.kind_of_url(broker_url, conf.broker_transport)
        ours.update(BY_BROKER.get(broker, {}))
        transport_options = TRANSPORT_OPTIONS.get(broker, {})
        if broker == "embedded":
            folder = _folder(self._instance_path)
            _make_folder(folder)
            transport_options = {"durability": options.durability}
            ours["beat_schedule_filename"] = os.path.join(folder, "beat-schedule")
            ours["result_backend"] = broker_url
        else:
            ours["result_backend"] = "flask_celeriac.records.disabled:DisabledBackend"
        if options.database:
            ours["result_backend"] = f"celeriac+{options.database}"
        if _is_ours(conf.result_backend or ours["result_backend"]):
            ours.update(OUR_RESULTS)
        ours = {name: value for name, value in ours.items() if not conf.value_set_for(name)}
        name, given = "broker_transport_options", dict[str, Any]()
        if conf.value_set_for(name):
            given = conf.broker_transport_options or {}
        # Beneath the user's, key by key, instead of being replaced as a whole.
        (completed if conf.value_set_for(name) else ours)[name] = {**transport_options, **given}
        self._app.own_transport_options = {
            key: value for key, value in transport_options.items() if key not in given
        }
        return completed, ours


class Beneath(Mapping[str, Any]):
    """What was read as configuration, with our defaults where it says nothing.

    Celery tells by the names in it whether all settings have old names or new ones. Until it has,
    it lists the user's alone.

    :param read: the user's, None where nothing was
    :param changes: what the user set on ``conf`` besides
    :param ours: by their new names
    """

    def __init__(
        self, read: Mapping[str, Any] | None, changes: Mapping[str, Any], ours: Mapping[str, Any]
    ) -> None:
        self._read, self._ours = read or {}, ours
        # As Celery does where it gets nothing.
        self._listed = [*(changes if read is None else read.keys())]

    def list_all(self) -> None:
        """From now on, list our defaults too."""
        self._listed = list(dict.fromkeys([*self._read.keys(), *self._ours]))

    def __getitem__(self, key: str) -> Any:
        return self._read[key] if key in self._read else self._ours[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


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
